"""A key that stands twice in one object is refused wherever users' JSON and YAML are read."""

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from gen_msa import jsonl
from gen_msa.annotation import JobSettings
from gen_msa.cues.base import load_json
from gen_msa.data import open_examples
from gen_msa.errors import UserError
from gen_msa.predictors import PredictorSettings, make
from gen_msa.settings import load
from gen_msa.types import Example, Opinion, Post, Rejected

GOOD = '{"text": "fine"}'
TWICE = '{"text": "good", "text": "awful"}'
NESTED = (
    '{"text": "tea", "aspects": [{"term": "tea", "polarity": "positive", "polarity": "neutral"}]}'
)
FLAT = '{"text": "tea", "aspect": "tea", "polarity": "positive", "polarity": "negative"}'
MAPPED = '{"body": "tea", "body": "cup"}'
COMPLETE = '{"post": {"id": "1", "text": "a", "text": "b"}, "opinions": []}'
CHAT = '{"messages": [{"role": "user", "content": "a", "content": "b"}]}'


@pytest.mark.parametrize("row", [TWICE, NESTED, FLAT, COMPLETE])
def test_row_is_rejected_and_the_others_are_read(row: str, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(f"\ufeff{row}\n{GOOD}\n{row}\n", "utf-8")
    first, good, last = open_examples(str(path)).rows()
    assert isinstance(good, Example)
    for rejected, line in ((first, 1), (last, 3)):
        assert isinstance(rejected, Rejected)
        assert rejected.line == line
        assert "occurs twice in one object" in rejected.reason
        assert "keep one" in rejected.hint


def test_mapped_key_is_rejected_before_it_is_renamed(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(MAPPED)
    (row,) = open_examples(str(path), columns={"text": "body"}).rows()
    assert isinstance(row, Rejected)
    assert "'body' occurs twice" in row.reason


@pytest.mark.parametrize("text", [f"[{TWICE}, {GOOD}]", f"[{NESTED},\n{GOOD}]"])
def test_record_of_an_array_is_rejected(text: str, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(text)
    rejected, good = open_examples(str(tmp_path / "m.json")).rows()
    assert isinstance(rejected, Rejected)
    assert isinstance(good, Example)


def test_chat_record_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(CHAT)
    (row,) = open_examples(str(tmp_path / "m.jsonl"), format="messages").rows()
    assert isinstance(row, Rejected)
    assert "'content' occurs twice" in row.reason


def test_json_cell_of_a_table_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('text,meta\ntea,"{""a"": 1, ""a"": 2}"\ncup,\n')
    rejected, good = open_examples(str(tmp_path / "m.csv")).rows()
    assert isinstance(rejected, Rejected)
    assert "'a' occurs twice" in rejected.reason
    assert isinstance(good, Example)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"x": 1}, "b": {"x": 2}}',
        '[{"x": 1}, {"x": 2}]',
        f'{{"n": {"9" * 5000}}}',
        "[" * 100_000,
        "not JSON",
        b"\xff",
    ],
)
def test_other_texts_pass(text: str | bytes) -> None:
    jsonl.check_duplicate_keys(text)


def test_rows_of_any_model_are_checked(tmp_path: Path) -> None:
    class Row(BaseModel):
        a: int

    (tmp_path / "m.jsonl").write_text('{"a": 1, "a": 2}\n{"a": 3}\n')
    rejected, good = jsonl.read(tmp_path / "m.jsonl", Row)
    assert isinstance(rejected, Rejected)
    assert good == Row(a=3)


@pytest.mark.parametrize("text", ["model: echo\nmodel: builtin\n", "backend: {seed: 1, seed: 2}\n"])
def test_settings_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match=r"c\.yaml.*occurs twice \(line"):
        load(JobSettings, tmp_path / "c.yaml")


def test_setting_of_the_command_line_is_refused() -> None:
    with pytest.raises(UserError, match="'window' occurs twice"):
        load(JobSettings, None, ["cues={window: {}, window: {words: 3}}"])


def test_yaml_merge_keys_still_work(tmp_path: Path) -> None:
    text = "cues: {a: &a {x: 1, y: 2}, b: {<<: *a, y: 3}}\n"
    (tmp_path / "c.yaml").write_text(text)
    assert load(JobSettings, tmp_path / "c.yaml").cues == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
    }


def test_file_of_cues_is_refused(tmp_path: Path) -> None:
    (tmp_path / "captions.json").write_text('{"1.jpg": "a dog", "1.jpg": "a cat"}')
    with pytest.raises(UserError, match=r"captions\.json.*'1\.jpg' occurs twice"):
        load_json(tmp_path / "captions.json")


def test_recorded_row_is_not_an_answer(tmp_path: Path) -> None:
    other = Example(post=Post(id="2", text="c"), opinions=(Opinion(annotator="x"),))
    (tmp_path / "o.jsonl").write_text(f"{COMPLETE}\n{other.model_dump_json()}\n")
    predictor = make(PredictorSettings(model=f"recorded:{tmp_path / 'o.jsonl'}"), Path())
    (prediction,) = predictor.predict([Post(id="1", text="b")])
    assert "'text' occurs twice" in str(prediction)


def test_rejected_row_holds_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(TWICE)
    (row,) = open_examples(str(tmp_path / "m.jsonl")).rows()
    assert isinstance(row, Rejected)
    assert json.loads(row.raw) == {"text": "awful"}
