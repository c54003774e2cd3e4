"""Answers from several files stand beside each other under their own names; none is lost unseen."""

import pytest

from gen_msa.data import open_source
from gen_msa.errors import UserError
from gen_msa.evaluating import Answers, gather, load
from tests.evaluating.phones import example, save


def loaded(tmp_path, examples, limit=None):
    return load(open_source(str(save(tmp_path / "posts.jsonl", examples))), limit)


def test_each_file_speaks_under_the_name_it_is_shown_by(tmp_path):
    data = loaded(tmp_path, [example(1, "positive"), example(2, "negative")])
    file = save(tmp_path / "b.jsonl", [example(2, "", builtin="neutral")])
    both = gather(data, [Answers("first", file), Answers("second", file, by="builtin")])
    assert both.readers() == ["gold", "first", "second"]
    assert [len(e.opinions) for e in both.examples] == [1, 3]
    silent = "first: silent about 1 posts; their aspects count as wrong"
    assert both.notes[0] == silent


def test_posts_that_the_data_has_not_are_counted_and_said(tmp_path):
    data = loaded(tmp_path, [example(1, "positive")])
    file = save(tmp_path / "b.jsonl", [example(i, "", b="neutral") for i in (1, 8, 9)])
    assert gather(data, [Answers("b", file)]).notes == (
        f"b: 2 posts of b.jsonl are not in {tmp_path / 'posts.jsonl'}; left out",
    )


@pytest.mark.parametrize("where", ["data", "answers"])
def test_an_id_that_stands_twice_is_refused_by_name(tmp_path, where):
    twice = [example(1, "positive", b="neutral"), example(1, "negative", b="neutral")]
    if where == "data":
        with pytest.raises(UserError, match="'p1' stands there twice"):
            loaded(tmp_path, twice)
        return
    data = loaded(tmp_path, [example(1, "positive")])
    with pytest.raises(UserError, match=r"b\.jsonl.*'p1' stands there twice"):
        gather(data, [Answers("b", save(tmp_path / "b.jsonl", twice))])


def test_a_name_that_speaks_already_is_refused(tmp_path):
    data = loaded(tmp_path, [example(1, "positive", b="positive")])
    file = save(tmp_path / "b.jsonl", [example(1, "", b="neutral")])
    with pytest.raises(UserError, match="'b' speaks in"):
        gather(data, [Answers("b", file)])


def test_a_file_of_two_readers_must_say_whose_opinions_are_meant(tmp_path):
    data = loaded(tmp_path, [example(1, "positive")])
    file = save(tmp_path / "b.jsonl", [example(1, "", b="neutral", c="neutral")])
    with pytest.raises(UserError, match="it holds b, c"):
        gather(data, [Answers("x", file)])


def test_nothing_to_evaluate_is_an_error_and_a_limit_is_said(tmp_path):
    with pytest.raises(UserError, match="holds no post"):
        loaded(tmp_path, [])
    data = loaded(tmp_path, [example(i, "positive") for i in range(5)], limit=3)
    assert len(data.examples) == 3
    assert data.notes == ("only the first 3 rows",)


def test_rows_that_cannot_be_read_are_counted(tmp_path):
    path = save(tmp_path / "posts.jsonl", [example(1, "positive")])
    path.write_text(path.read_text("utf-8") + "{broken\n", encoding="utf-8")
    data = load(open_source(str(path)))
    assert data.rejected == 1
    assert "1 rows" in data.notes[0]


def test_a_limit_counts_bad_rows_as_readers_do(tmp_path):
    path = save(tmp_path / "posts.jsonl", [example(i, "positive") for i in range(4)])
    path.write_text("{broken\n" + path.read_text("utf-8"), encoding="utf-8")
    source = open_source(str(path))
    assert [e.post.id for e in load(source, 3).examples] == ["p0", "p1"]
    assert load(source, 3).notes[-1] == "only the first 3 rows"
    assert load(source, 5).notes == load(source).notes, "five rows are all there are"


def test_answers_that_cannot_be_read_and_posts_that_were_refused_are_said(tmp_path):
    data = loaded(tmp_path, [example(i, "positive") for i in range(2)])
    file = save(tmp_path / "b.jsonl", [example(0, "", b="neutral")])
    file.write_text(file.read_text("utf-8") + "{broken\n", encoding="utf-8")
    (tmp_path / "b.rejected.jsonl").touch()
    silent, broken = gather(data, [Answers("b", file)]).notes
    assert "silent about 1 posts (why stands in b.rejected.jsonl)" in silent
    assert broken == "b: 1 rows of b.jsonl cannot be read"


def test_two_readers_of_one_name_are_refused(tmp_path):
    data = loaded(tmp_path, [example(1, "positive")])
    file = save(tmp_path / "b.jsonl", [example(1, "", b="neutral")])
    with pytest.raises(UserError, match="'x' speaks in"):
        gather(data, [Answers("x", file), Answers("x", file)])
