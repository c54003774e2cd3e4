"""`file:` repeats what was recorded, and says where the record is silent."""

from pathlib import Path

import pytest

from gen_msa.errors import UserError
from gen_msa.readers import ReaderSettings, make
from gen_msa.types import Example, Opinion, Polarity, Status
from tests.fixtures.posts import post


def write(path, examples, *extra):
    path.write_text("\n".join([*(e.model_dump_json() for e in examples), *extra]) + "\n")
    return path


def said(i, by="teacher", polarity=Polarity.POSITIVE):
    return tuple(Opinion(by=by, aspect=a, polarity=polarity) for a in post(i).aspects)


def reader(target):
    return make(ReaderSettings(reader=f"file:{target}"), Path())


def test_opinions_are_repeated_under_the_readers_own_name(tmp_path):
    path = write(tmp_path / "t.jsonl", [Example(post=post(i), opinions=said(i)) for i in range(3)])
    readings = reader(path).read([post(2), post(0)])
    assert [[o.aspect for o in r.opinions] for r in readings] == [
        list(post(2).aspects),
        list(post(0).aspects),
    ]
    assert {o.by for r in readings for o in r.opinions} == {f"file:{path}"}


def test_one_of_several_recorded_readers_must_be_named(tmp_path):
    both = said(0) + said(0, "student", Polarity.NEGATIVE) + said(0, "gold")
    path = write(tmp_path / "t.jsonl", [Example(post=post(0), opinions=both)])
    with pytest.raises(UserError, match="gold, student, teacher"):
        reader(path)
    (reading,) = reader(f"{path}#student").read([post(0)])
    assert {o.polarity for o in reading.opinions} == {Polarity.NEGATIVE}


def test_silence_is_an_empty_opinion_and_never_a_guess(tmp_path):
    path = write(tmp_path / "t.jsonl", [Example(post=post(0), opinions=said(0)[:1])], "{not json")
    half, none = reader(path).read([post(0), post(1)])
    assert [o.status for o in half.opinions] == [Status.OK, Status.EMPTY]
    assert {o.status for o in none.opinions} == {Status.EMPTY}
    assert "1 lines could not be read; line 2" in none.opinions[0].how["recorded"]


def test_another_text_under_the_same_id_is_refused(tmp_path):
    path = write(tmp_path / "t.jsonl", [Example(post=post(0), opinions=said(0))])
    (reading,) = reader(path).read([post(1).model_copy(update={"id": "p0"})])
    assert reading.opinions == ()
    assert "another text" in reading.refused


def test_contradicting_and_doubled_records_are_refused(tmp_path):
    contradictory = said(0) + said(0, polarity=Polarity.NEGATIVE)
    path = write(tmp_path / "t.jsonl", [Example(post=post(0), opinions=contradictory)])
    (reading,) = reader(path).read([post(0)])
    assert "two opinions" in reading.refused
    write(path, [Example(post=post(0), opinions=said(0))] * 2)
    with pytest.raises(UserError, match=r"t\.jsonl:2: post 'p0'"):
        reader(path)


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match=r"no file 'nowhere\.jsonl'"):
        reader("nowhere.jsonl")
