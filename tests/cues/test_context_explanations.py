"""Test contexts from a file of opinions: explanations only, no labels, scores or gold opinions."""

from pathlib import Path

import pytest

from gen_msa.cues.context import ContextCues, ContextOptions
from gen_msa.errors import UserError
from gen_msa.types import OVERALL_ASPECT, Aspect, Example, Opinion, Polarity, Post

TEA = Aspect(term="tea", start=0)
POST = Post(id="1", text="tea and cake", aspects=(OVERALL_ASPECT, TEA))


def make_opinion(
    annotator: str, explanation: str | None, aspect: Aspect = OVERALL_ASPECT
) -> Opinion:
    return Opinion(
        annotator=annotator,
        aspect=aspect,
        polarity=Polarity.POSITIVE,
        explanation=explanation,
        raw="LABEL",
    )


def write_example(path: Path, *opinions: Opinion) -> Path:
    path.write_text(
        Example(post=POST, opinions=opinions).model_dump_json() + "\n", encoding="utf-8"
    )
    return path


def context_texts(*files: Path) -> list[str]:
    options = ContextOptions.model_validate({"files": [{"path": f, "prefix": ""} for f in files]})
    return [c.text for c in ContextCues(options).cues([POST])[0]]


def test_aspect_gets_its_own_explanation(tmp_path: Path) -> None:
    opinions = [
        make_opinion("mllm", "A smile."),
        make_opinion("mllm", "A cup.", TEA),
        make_opinion("gold", "Yes!"),
    ]
    assert context_texts(write_example(tmp_path / "a.jsonl", *opinions)) == ["A smile.", "A cup."]


def test_opinion_without_explanation_gives_empty_cue(tmp_path: Path) -> None:
    assert context_texts(write_example(tmp_path / "a.jsonl", make_opinion("mllm", None))) == [
        "",
        "",
    ]


def test_files_of_several_splits_can_be_combined(tmp_path: Path) -> None:
    train = write_example(tmp_path / "train.jsonl", make_opinion("mllm", "A smile."))
    dev = tmp_path / "dev.jsonl"
    dev.write_text("")
    assert context_texts(train, dev) == ["A smile.", ""]


def test_explanations_of_two_annotators_raise(tmp_path: Path) -> None:
    path = write_example(tmp_path / "a.jsonl", make_opinion("a", "x"), make_opinion("b", "y"))
    with pytest.raises(UserError, match="opinions by a, b"):
        context_texts(path)


def test_invalid_line_raises_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"post": {"id": "1"}}\n')
    with pytest.raises(UserError, match=r"line 1: post\.text"):
        context_texts(tmp_path / "a.jsonl")
    with pytest.raises(UserError, match="cannot be read"):
        context_texts(tmp_path / "none.jsonl")
