"""Joint aspect extraction as JSON: words, an image, and labelled aspects as spans of words.

The text is the words joined by single spaces. Part-of-speech tags, which do not always match the
words in number, are in `meta` as `x_pos` and `u_pos`. Ids are IMAGE-N for the N-th record, as in
the TomBERT files of the same posts, unless the record has an `id`.

    {"words": ["good", "food"], "image_id": "1.jpg",
     "aspects": [{"from": 1, "to": 2, "polarity": "POS", "term": ["food"]}]}
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_json

from gen_msa.data.formats._common import (
    GOLD_ANNOTATOR,
    NumberedLine,
    check_round_trip,
    gold_opinion,
    gold_opinion_from_text,
    image_media,
    unsupported_field_error,
)
from gen_msa.data.formats._json_stream import first_record, iter_records, parse_records, write_array
from gen_msa.data.formats._word_spans import WordSpan, aspect_from_span, starts_of, word_span
from gen_msa.data.formats.base import ExampleStream, formats
from gen_msa.types import Example, Opinion, Polarity, Post, Rejected

_LABELS = {"NEG": Polarity.NEGATIVE, "NEU": Polarity.NEUTRAL, "POS": Polarity.POSITIVE}
_NAMES = {p: label for label, p in _LABELS.items()}
_TAGS = ("x_pos", "u_pos")


class _JointAspect(WordSpan):
    polarity: str
    """NEG, NEU or POS; any other label becomes `raw` of an opinion without polarity."""


class _JointRecord(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str = ""
    words: list[str]
    image_id: str = Field(min_length=1)
    aspects: list[_JointAspect]
    opinions: list[dict[str, JsonValue]] = []
    """Opinion words, which are empty in these files."""
    x_pos: list[str] | None = None
    u_pos: list[str] | None = None

    def to_example(self, number: int) -> Example:
        if any(o.get("term") for o in self.opinions):
            raise ValueError("opinions: opinion words are not supported")
        starts = starts_of(self.words)
        labelled_aspects = [
            (aspect_from_span(self.words, starts, a), a.polarity) for a in self.aspects
        ]
        tags = {k: v for k in _TAGS if (v := getattr(self, k)) is not None}
        post = Post(
            id=self.id or _default_id(self.image_id, number),
            text=" ".join(self.words),
            media=image_media([self.image_id]),
            aspects=tuple(a for a, _ in labelled_aspects),
            meta=tags,
        )
        opinions = tuple(
            gold_opinion(a, _LABELS[label])
            if label in _LABELS
            else gold_opinion_from_text(a, label)
            for a, label in labelled_aspects
        )
        return Example(post=post, opinions=opinions)


@formats.register
class JointJson:
    """Reads and writes the joint-extraction JSON."""

    suffixes: tuple[str, ...] = ()
    content_suffixes: tuple[str, ...] = (".json",)
    about = "Joint extraction JSON: words, aspects as spans of words with POS/NEU/NEG, an image."

    def recognizes(self, head: bytes) -> bool:
        """Return whether the first record has the keys of this format."""
        return first_record(head).keys() >= {"words", "image_id", "aspects"}

    def read(self, path: Path) -> ExampleStream:
        """Read every post, in order; a record that cannot be parsed is `Rejected`."""
        return _parse(path, iter_records(path))

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Write one record per post.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: The format cannot store a field of an example.
        """
        groups = check_round_trip(
            "joint_json", examples, _dump, lambda r, n: _parse(path, enumerate(r, n))
        )
        write_array(path, groups)


def _default_id(image: str, number: int) -> str:
    return f"{PurePosixPath(image).stem}-{number}"


def _parse(path: Path, items: Iterable[NumberedLine | Rejected]) -> ExampleStream:
    def build_example(raw: bytes, number: int) -> Example:
        return _JointRecord.model_validate_json(raw).to_example(number)

    return parse_records(path, items, build_example)


def _dump(example: Example, number: int) -> list[bytes]:
    post = example.post
    if len(post.media) != 1:
        raise unsupported_field_error(
            "joint_json", example, "post.media", "exactly one image per post"
        )
    words = post.text.split(" ") if post.text else []
    image = post.media[0].path
    record: dict[str, Any] = {"words": words, "image_id": image, "aspects": []}
    for opinion in example.opinions:
        record["aspects"].append(_aspect_record(example, words, opinion))
    record["opinions"] = [{"term": []}]
    record |= {k: post.meta[k] for k in _TAGS if k in post.meta}
    explicit_id = {} if post.id == _default_id(image, number) else {"id": post.id}
    return [to_json(explicit_id | record)]


def _aspect_record(example: Example, words: list[str], opinion: Opinion) -> dict[str, Any]:
    label = opinion.raw if opinion.polarity is None else _NAMES[opinion.polarity]
    if opinion.annotator != GOLD_ANNOTATOR or not label:
        raise unsupported_field_error("joint_json", example, "opinions", "gold labels only")
    span = word_span(words, opinion.aspect)
    if span is None:
        raise unsupported_field_error("joint_json", example, "post.aspects", "whole words only")
    begin, end = span
    return {"from": begin, "to": end, "polarity": label, "term": words[begin:end]}
