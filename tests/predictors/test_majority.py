"""The majority reader: one label, the shares of the classes, and nothing of a test split."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.errors import UserError
from gen_msa.predictors import PredictorSettings, make
from gen_msa.predictors.majority import MajorityPredictor
from gen_msa.types import OVERALL_ASPECT, Aspect, Example, Opinion, Polarity, Post
from tests.fixtures.posts import post

NEG, NEU, POS = Polarity


def write_labelled(path, labels, *extra):
    examples = [
        Example(
            post=Post(id=str(i), text="soup", aspects=(Aspect(term="soup", start=0),)),
            opinions=(
                Opinion(annotator="gold", aspect=Aspect(term="soup", start=0), polarity=p),
                Opinion(annotator="teacher", aspect=Aspect(term="soup", start=0), polarity=NEG),
            ),
        )
        for i, p in enumerate(labels)
    ]
    path.write_text("\n".join([*(e.model_dump_json() for e in examples), *extra]) + "\n")
    return path


def make_predictor(target, **settings):
    return make(PredictorSettings(model=f"majority:{target}", **settings), Path())


def test_majority_predicts_most_frequent_gold_label_with_shares(tmp_path):
    path = write_labelled(tmp_path / "train.jsonl", [POS, POS, NEU, None])
    (prediction,) = make_predictor(path).predict([post(0)])
    assert [o.aspect for o in prediction.opinions] == list(post(0).aspects)
    for o in prediction.opinions:
        assert o.polarity is POS
        assert o.probs == pytest.approx({NEG: 0, NEU: 1 / 3, POS: 2 / 3})
        assert o.explanation is None
        assert o.annotator == f"majority:{path}"
        notes = {"language": "en", "aspect_source": "given"}
        assert o.provenance == {"majority_of": f"{path} (n=3)", **notes}


def test_unreadable_rows_are_recorded_in_provenance(tmp_path):
    path = write_labelled(tmp_path / "train.jsonl", [POS], "{broken")
    ((opinion, *_),) = (r.opinions for r in make_predictor(path).predict([post(0)]))
    assert opinion.provenance["majority_of"] == f"{path} (n=1, 1 rows could not be read)"


@given(st.dictionaries(st.sampled_from(list(Polarity)), st.integers(1, 5), min_size=1))
def test_tie_goes_to_the_earlier_label(counts):
    settings = PredictorSettings(model="majority:x")
    backwards = dict(reversed(counts.items()))
    predicted = [
        MajorityPredictor(c, settings, "x").predict([post(0)])[0].opinions[0].polarity
        for c in (counts, backwards)
    ]
    max_count = max(counts.values())
    assert predicted == [next(p for p in Polarity if counts.get(p) == max_count)] * 2


def test_overall_gives_one_opinion(tmp_path):
    path = write_labelled(tmp_path / "train.jsonl", [NEU])
    (prediction,) = make_predictor(path, aspects="overall").predict([post(0)])
    assert [o.aspect for o in prediction.opinions] == [OVERALL_ASPECT]


@pytest.mark.parametrize("target", ["twitter2015:test", "mine/test.jsonl", "x/TEST.tsv"])
def test_test_split_is_rejected(target):
    with pytest.raises(UserError, match="labels of a test split must not be counted"):
        make_predictor(target)


def test_missing_source_or_gold_is_an_error(tmp_path):
    path = write_labelled(tmp_path / "train.jsonl", [None])
    with pytest.raises(UserError, match="has no gold opinion"):
        make_predictor(path)
    with pytest.raises(UserError, match="majority needs labels"):
        make_predictor("")


def test_majority_cannot_list_aspects(tmp_path):
    path = write_labelled(tmp_path / "train.jsonl", [POS])
    with pytest.raises(UserError, match="cannot list aspects"):
        make_predictor(path, aspects="model").predict([post(0)])


def test_fingerprint_depends_on_the_labels(tmp_path):
    fingerprints = [
        make_predictor(write_labelled(tmp_path / "train.jsonl", labels)).fingerprint()
        for labels in ([POS], [POS], [NEG])
    ]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    assert make_predictor(tmp_path / "train.jsonl").preview([post(0)]) == []
