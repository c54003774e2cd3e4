"""SemEval sentences with a dependency parse as JSON: token, pos, head, deprel, aspects.

The text is the tokens joined by single spaces; the parse becomes `Post.parse`, so no parser is
needed. Heads count from 1 in each sentence of a record, 0 is a root. Where a record holds several
sentences, which the file does not say, they are told apart by their roots (see `_sentences`).

Some spans point a little beside their term, because words were cut anew after the spans were
counted. Such an aspect is moved to its nearest whole words (`_words.nearest`), or loses its place
if there are none, and `meta["spans"]` keeps what the file said. Own keys, written only when
needed: `id` (else FILE_STEM-N), `sentences` (tokens in each), `meta`. Knows nothing of where
files lie.

    {"token": ["Good", "food"], "pos": ["JJ", "NN"], "head": [2, 0], "deprel": ["amod", "root"],
     "aspects": [{"term": ["food"], "from": 1, "to": 2, "polarity": "positive"}]}
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic_core import to_json

from gen_msa.data.formats._array import parse_records, iter_records, write_array
from gen_msa.data.formats._rows import GOLD_ANNOTATOR, NumberedLine, ExampleStream, check_round_trip, gold_opinion_from_text, unsupported_field_error
from gen_msa.data.formats._sentences import (
    to_record_heads,
    to_sentence_heads,
    needs_sentence_sizes,
    split_sentences,
)
from gen_msa.data.formats._words import WordSpan, aspect_from_words, nearest_span, word_span, starts_of
from gen_msa.data.formats.base import formats
from gen_msa.types import Aspect, Example, Opinion, Parse, Post, Rejected, Token


class _Aspect(WordSpan):
    polarity: str


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str = ""
    token: list[str]
    pos: list[str]
    head: list[int]
    deprel: list[str]
    aspects: list[_Aspect]
    sentences: list[int] | None = None
    meta: dict[str, JsonValue] = {}

    def to_example(self, default_id: str) -> Example:
        starts = starts_of(self.token)
        sizes = self.sentences if self.sentences is not None else split_sentences(self.head)
        heads = to_record_heads(self.head, sizes)
        token_columns = zip(self.token, starts, heads, self.deprel, self.pos, strict=True)
        tokens = tuple(Token(text=t, start=s, head=h, rel=r, pos=p) for t, s, h, r, p in token_columns)
        meta, aspects = dict(self.meta), []
        for aspect_span in self.aspects:
            aspects.append(_locate_span(aspect_span, self.token, starts, meta))
        post = Post(
            id=self.id or default_id,
            text=" ".join(self.token),
            aspects=tuple(aspects),
            parse=Parse(tokens=tokens, parser="stanza"),
            meta=meta,
        )
        labels = zip(aspects, self.aspects, strict=True)
        return Example(post=post, opinions=tuple(gold_opinion_from_text(a, g.polarity) for a, g in labels))


def _locate_span(
    aspect_span: _Aspect, words: list[str], starts: list[int], meta: dict[str, JsonValue]
) -> Aspect:
    if aspect_span.begin < aspect_span.end and words[aspect_span.begin : aspect_span.end] == aspect_span.term:
        return aspect_from_words(words, starts, aspect_span.begin, aspect_span.end)
    original_span: JsonValue = {"term": list(aspect_span.term), "from": aspect_span.begin, "to": aspect_span.end}
    earlier_spans = meta.get("spans", [])
    meta["spans"] = [*(earlier_spans if isinstance(earlier_spans, list) else [earlier_spans]), original_span]
    match = nearest_span(words, aspect_span)
    return aspect_from_words(words, starts, *match) if match else Aspect(term=" ".join(aspect_span.term))


@formats.register
class StanzaJson:
    """Reads and writes SemEval with a dependency parse."""

    suffixes: tuple[str, ...] = ()
    about = "SemEval JSON with token, pos, head, deprel: gives syntax cues without a parser."

    def read(self, path: Path) -> ExampleStream:
        """Every sentence, in order; a record that cannot be read is `Rejected`."""
        return _parse(path, iter_records(path))

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """One record a post. Raises `UserError` naming a field without room."""

        def dump(example: Example, number: int) -> list[bytes]:
            return [to_json(_record(example, f"{path.stem}-{number}"))]

        groups = check_round_trip("stanza_json", examples, dump, lambda r, n: _parse(path, enumerate(r, n)))
        write_array(path, groups)


def _parse(path: Path, items: Iterable[NumberedLine | Rejected]) -> ExampleStream:
    def build_example(raw: bytes, number: int) -> Example:
        return _Record.model_validate_json(raw).to_example(f"{path.stem}-{number}")

    return parse_records(path, items, build_example)


def _record(example: Example, default_id: str) -> dict[str, Any]:
    post = example.post
    if post.parse is None:
        raise unsupported_field_error("stanza_json", example, "post.parse", "it needs one")
    words = [t.text for t in post.parse.tokens]
    sizes, heads = to_sentence_heads([t.head for t in post.parse.tokens])
    record: dict[str, Any] = {
        "token": words,
        "pos": [t.pos for t in post.parse.tokens],
        "head": heads,
        "deprel": [t.rel for t in post.parse.tokens],
        "aspects": [_aspect_record(example, words, o) for o in example.opinions],
    }
    extra = {
        "id": "" if post.id == default_id else post.id,
        "sentences": sizes if needs_sentence_sizes(sizes, heads) else None,
        "meta": post.meta,
    }
    return record | {k: v for k, v in extra.items() if v}


def _aspect_record(example: Example, words: list[str], opinion: Opinion) -> dict[str, Any]:
    label = opinion.raw if opinion.polarity is None else opinion.polarity.value
    span = word_span(words, opinion.aspect)
    if opinion.annotator != GOLD_ANNOTATOR or label is None:
        raise unsupported_field_error("stanza_json", example, "opinions", "gold labels only")
    if span is None:
        raise unsupported_field_error("stanza_json", example, "post.aspects", "whole words only")
    begin, end = span
    return {"term": words[begin:end], "from": begin, "to": end, "polarity": label}
