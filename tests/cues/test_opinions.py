"""Contexts from a file of opinions: the reader's words, and never a label, a score or gold's."""

from pathlib import Path

import pytest

from gen_msa.cues.context import Context, ContextOptions
from gen_msa.errors import UserError
from gen_msa.types import WHOLE_POST, Aspect, Example, Opinion, Polarity, Post

TEA = Aspect(term="tea", start=0)
POST = Post(id="1", text="tea and cake", aspects=(WHOLE_POST, TEA))


def opinion(by: str, said: str | None, aspect: Aspect = WHOLE_POST) -> Opinion:
    return Opinion(by=by, aspect=aspect, polarity=Polarity.POSITIVE, explanation=said, raw="LABEL")


def written(path: Path, *opinions: Opinion) -> Path:
    path.write_text(
        Example(post=POST, opinions=opinions).model_dump_json() + "\n", encoding="utf-8"
    )
    return path


def cues(*files: Path) -> list[str]:
    options = ContextOptions.model_validate({"files": [{"path": f, "lead": ""} for f in files]})
    return [c.text for c in Context(options).cues([POST])[0]]


def test_each_aspect_has_what_the_reader_wrote_of_it(tmp_path: Path) -> None:
    said = [opinion("mllm", "A smile."), opinion("mllm", "A cup.", TEA), opinion("gold", "Yes!")]
    assert cues(written(tmp_path / "a.jsonl", *said)) == ["A smile.", "A cup."]


def test_an_opinion_without_words_is_no_context(tmp_path: Path) -> None:
    assert cues(written(tmp_path / "a.jsonl", opinion("mllm", None))) == ["", ""]


def test_files_of_several_splits_stand_side_by_side(tmp_path: Path) -> None:
    train = written(tmp_path / "train.jsonl", opinion("mllm", "A smile."))
    dev = tmp_path / "dev.jsonl"
    dev.write_text("")
    assert cues(train, dev) == ["A smile.", ""]


def test_words_of_two_readers_are_not_mixed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", opinion("a", "x"), opinion("b", "y"))
    with pytest.raises(UserError, match="opinions by a, b"):
        cues(path)


def test_a_line_that_is_no_example_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"post": {"id": "1"}}\n')
    with pytest.raises(UserError, match=r"line 1: post\.text"):
        cues(tmp_path / "a.jsonl")
    with pytest.raises(UserError, match="cannot be read"):
        cues(tmp_path / "none.jsonl")
