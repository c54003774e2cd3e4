"""`file:` repeats what was recorded, and says where the record is silent."""

from pathlib import Path

import pytest

from gen_msa.errors import UserError
from gen_msa.predictors import PredictorSettings, make
from gen_msa.types import Example, Opinion, Polarity, Status
from tests.fixtures.posts import post


def write_examples(path, examples, *extra):
    path.write_text("\n".join([*(e.model_dump_json() for e in examples), *extra]) + "\n")
    return path


def recorded_opinions(i, annotator="teacher", polarity=Polarity.POSITIVE):
    return tuple(Opinion(annotator=annotator, aspect=a, polarity=polarity) for a in post(i).aspects)


def make_predictor(target):
    return make(PredictorSettings(model=f"recorded:{target}"), Path())


def test_recorded_opinions_are_returned_under_the_predictor_name(tmp_path):
    path = write_examples(
        tmp_path / "t.jsonl",
        [Example(post=post(i), opinions=recorded_opinions(i)) for i in range(3)],
    )
    predictions = make_predictor(path).predict([post(2), post(0)])
    assert [[o.aspect for o in r.opinions] for r in predictions] == [
        list(post(2).aspects),
        list(post(0).aspects),
    ]
    assert {o.annotator for r in predictions for o in r.opinions} == {f"recorded:{path}"}


def test_one_of_several_annotators_must_be_named(tmp_path):
    opinions = (
        recorded_opinions(0)
        + recorded_opinions(0, "student", Polarity.NEGATIVE)
        + recorded_opinions(0, "gold")
    )
    path = write_examples(tmp_path / "t.jsonl", [Example(post=post(0), opinions=opinions)])
    with pytest.raises(UserError, match="gold, student, teacher"):
        make_predictor(path)
    (prediction,) = make_predictor(f"{path}#student").predict([post(0)])
    assert {o.polarity for o in prediction.opinions} == {Polarity.NEGATIVE}


def test_missing_record_gives_an_empty_opinion(tmp_path):
    path = write_examples(
        tmp_path / "t.jsonl",
        [Example(post=post(0), opinions=recorded_opinions(0)[:1])],
        "{not json",
    )
    partial, missing = make_predictor(path).predict([post(0), post(1)])
    assert [o.status for o in partial.opinions] == [Status.OK, Status.EMPTY]
    assert {o.status for o in missing.opinions} == {Status.EMPTY}
    assert "1 lines could not be read; line 2" in missing.opinions[0].provenance["recorded"]


def test_changed_text_under_the_same_id_is_rejected(tmp_path):
    path = write_examples(
        tmp_path / "t.jsonl", [Example(post=post(0), opinions=recorded_opinions(0))]
    )
    (prediction,) = make_predictor(path).predict([post(1).model_copy(update={"id": "p0"})])
    assert prediction.opinions == ()
    assert "another text" in prediction.rejection


def test_contradicting_and_duplicate_records_are_rejected(tmp_path):
    contradictory = recorded_opinions(0) + recorded_opinions(0, polarity=Polarity.NEGATIVE)
    path = write_examples(tmp_path / "t.jsonl", [Example(post=post(0), opinions=contradictory)])
    (prediction,) = make_predictor(path).predict([post(0)])
    assert "two opinions" in prediction.rejection
    write_examples(path, [Example(post=post(0), opinions=recorded_opinions(0))] * 2)
    with pytest.raises(UserError, match=r"t\.jsonl:2: post 'p0'"):
        make_predictor(path)


def test_missing_file_is_named():
    with pytest.raises(UserError, match=r"no file 'nowhere\.jsonl'"):
        make_predictor("nowhere.jsonl")
