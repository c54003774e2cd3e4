"""Predictions of several files are joined under their display names; nothing is lost silently."""

import pytest

from gen_msa.data import open_examples
from gen_msa.errors import UserError
from gen_msa.evaluation import SystemOutput, add_system_outputs, load_examples
from tests.evaluation.phone_examples import example, write_examples


def load_data(tmp_path, examples, limit=None):
    return load_examples(
        open_examples(str(write_examples(tmp_path / "posts.jsonl", examples))), limit
    )


def test_add_system_outputs_uses_display_names(tmp_path):
    data = load_data(tmp_path, [example(1, "positive"), example(2, "negative")])
    file = write_examples(tmp_path / "b.jsonl", [example(2, "", builtin="neutral")])
    merged = add_system_outputs(
        data, [SystemOutput("first", file), SystemOutput("second", file, annotator="builtin")]
    )
    assert merged.annotators() == ["gold", "first", "second"]
    assert [len(e.opinions) for e in merged.examples] == [1, 3]
    missing_note = "first: no answer for 1 posts; their aspects count as wrong"
    assert merged.notes[0] == missing_note


def test_add_system_outputs_notes_unknown_posts(tmp_path):
    data = load_data(tmp_path, [example(1, "positive")])
    file = write_examples(tmp_path / "b.jsonl", [example(i, "", b="neutral") for i in (1, 8, 9)])
    assert add_system_outputs(data, [SystemOutput("b", file)]).notes == (
        f"b: 2 posts of b.jsonl are not in {tmp_path / 'posts.jsonl'}; left out",
    )


@pytest.mark.parametrize("where", ["data", "answers"])
def test_load_rejects_duplicate_post_ids(tmp_path, where):
    duplicates = [example(1, "positive", b="neutral"), example(1, "negative", b="neutral")]
    if where == "data":
        with pytest.raises(UserError, match="'p1' occurs twice"):
            load_data(tmp_path, duplicates)
        return
    data = load_data(tmp_path, [example(1, "positive")])
    with pytest.raises(UserError, match=r"b\.jsonl.*'p1' occurs twice"):
        add_system_outputs(
            data, [SystemOutput("b", write_examples(tmp_path / "b.jsonl", duplicates))]
        )


def test_add_system_outputs_rejects_annotator_already_in_data(tmp_path):
    data = load_data(tmp_path, [example(1, "positive", b="positive")])
    file = write_examples(tmp_path / "b.jsonl", [example(1, "", b="neutral")])
    with pytest.raises(UserError, match="already has opinions by 'b'"):
        add_system_outputs(data, [SystemOutput("b", file)])


def test_add_system_outputs_needs_annotator_of_mixed_file(tmp_path):
    data = load_data(tmp_path, [example(1, "positive")])
    file = write_examples(tmp_path / "b.jsonl", [example(1, "", b="neutral", c="neutral")])
    with pytest.raises(UserError, match="it has opinions by b, c"):
        add_system_outputs(data, [SystemOutput("x", file)])


def test_load_examples_rejects_empty_data_and_notes_limit(tmp_path):
    with pytest.raises(UserError, match="holds no readable post"):
        load_data(tmp_path, [])
    data = load_data(tmp_path, [example(i, "positive") for i in range(5)], limit=3)
    assert len(data.examples) == 3
    assert data.notes == ("only the first 3 rows",)


def test_load_examples_counts_unreadable_rows(tmp_path):
    path = write_examples(tmp_path / "posts.jsonl", [example(1, "positive")])
    path.write_text(path.read_text("utf-8") + "{broken\n", encoding="utf-8")
    data = load_examples(open_examples(str(path)))
    assert data.rejected == 1
    assert "1 row of" in data.notes[0]


def test_load_examples_limit_counts_bad_rows(tmp_path):
    path = write_examples(tmp_path / "posts.jsonl", [example(i, "positive") for i in range(4)])
    path.write_text("{broken\n" + path.read_text("utf-8"), encoding="utf-8")
    source = open_examples(str(path))
    assert [e.post.id for e in load_examples(source, 3).examples] == ["p0", "p1"]
    assert load_examples(source, 3).notes[-1] == "only the first 3 rows"
    assert load_examples(source, 5).notes == load_examples(source).notes, (
        "five rows are all there are"
    )


def test_add_system_outputs_notes_unreadable_and_rejected_rows(tmp_path):
    data = load_data(tmp_path, [example(i, "positive") for i in range(2)])
    file = write_examples(tmp_path / "b.jsonl", [example(0, "", b="neutral")])
    file.write_text(file.read_text("utf-8") + "{broken\n", encoding="utf-8")
    (tmp_path / "b.rejected.jsonl").touch()
    missing_note, unreadable_note = add_system_outputs(data, [SystemOutput("b", file)]).notes
    assert "no answer for 1 posts (see b.rejected.jsonl for the reasons)" in missing_note
    assert unreadable_note.startswith("b: 1 row of b.jsonl cannot be read (line 2: row: ")


def test_add_system_outputs_rejects_duplicate_names(tmp_path):
    data = load_data(tmp_path, [example(1, "positive")])
    file = write_examples(tmp_path / "b.jsonl", [example(1, "", b="neutral")])
    with pytest.raises(UserError, match="already has opinions by 'x'"):
        add_system_outputs(data, [SystemOutput("x", file), SystemOutput("x", file)])


def test_score_that_is_not_finite_is_refused_with_its_row(tmp_path):
    path = write_examples(
        tmp_path / "posts.jsonl", [example(i, "positive", b="neutral") for i in range(6)]
    )
    lines = path.read_text("utf-8").splitlines()
    for i, score in enumerate(["NaN", "Infinity", "-Infinity", "1e999"], start=1):
        assert lines[i].count('"score":null') == 2  # of the gold opinion, and of the prediction
        lines[i] = lines[i].replace('"score":null', f'"score":{score}', 1 + i % 2)
    path.write_text("\n".join(lines), encoding="utf-8")
    data = load_examples(open_examples(str(path)))
    assert [e.post.id for e in data.examples] == ["p0", "p5"]
    (note,) = data.notes
    assert note.startswith("4 rows of ")
    assert all(f"line {n}: " in note for n in (2, 3, 4))
    assert "score: Input should be a finite number" in note
    notes = add_system_outputs(data, [SystemOutput("s", path, annotator="b")]).notes
    assert notes[-1].startswith("s: 4 rows of posts.jsonl cannot be read (line 2: ")
