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

from gen_msa.data.formats._array import parsed, records, write_array
from gen_msa.data.formats._rows import GOLD, Line, Rows, checked, gold_word, no_room
from gen_msa.data.formats._sentences import (
    heads_in_record,
    heads_in_sentences,
    must_say,
    sentences_of,
)
from gen_msa.data.formats._words import Span, aspect_at, nearest, span_of, starts_of
from gen_msa.data.formats.base import formats
from gen_msa.types import Aspect, Example, Opinion, Parse, Post, Rejected, Token


class _Aspect(Span):
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

    def example(self, made_id: str) -> Example:
        starts = starts_of(self.token)
        sizes = self.sentences if self.sentences is not None else sentences_of(self.head)
        heads = heads_in_record(self.head, sizes)
        parts = zip(self.token, starts, heads, self.deprel, self.pos, strict=True)
        tokens = tuple(Token(text=t, start=s, head=h, rel=r, pos=p) for t, s, h, r, p in parts)
        meta, aspects = dict(self.meta), []
        for given in self.aspects:
            aspects.append(_placed(given, self.token, starts, meta))
        post = Post(
            id=self.id or made_id,
            text=" ".join(self.token),
            aspects=tuple(aspects),
            parse=Parse(tokens=tokens, by="stanza"),
            meta=meta,
        )
        labels = zip(aspects, self.aspects, strict=True)
        return Example(post=post, opinions=tuple(gold_word(a, g.polarity) for a, g in labels))


def _placed(
    given: _Aspect, words: list[str], starts: list[int], meta: dict[str, JsonValue]
) -> Aspect:
    if given.begin < given.end and words[given.begin : given.end] == given.term:
        return aspect_at(words, starts, given.begin, given.end)
    said: JsonValue = {"term": list(given.term), "from": given.begin, "to": given.end}
    before = meta.get("spans", [])
    meta["spans"] = [*(before if isinstance(before, list) else [before]), said]
    found = nearest(words, given)
    return aspect_at(words, starts, *found) if found else Aspect(term=" ".join(given.term))


@formats.register
class StanzaJson:
    """Reads and writes SemEval with a dependency parse."""

    suffixes: tuple[str, ...] = ()
    about = "SemEval JSON with token, pos, head, deprel: gives syntax cues without a parser."

    def read(self, path: Path) -> Rows:
        """Every sentence, in order; a record that cannot be read is `Rejected`."""
        return _parse(path, records(path))

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """One record a post. Raises `UserError` naming a field without room."""

        def dump(example: Example, number: int) -> list[bytes]:
            return [to_json(_record(example, f"{path.stem}-{number}"))]

        groups = checked("stanza_json", examples, dump, lambda r, n: _parse(path, enumerate(r, n)))
        write_array(path, groups)


def _parse(path: Path, found: Iterable[Line | Rejected]) -> Rows:
    def make(raw: bytes, number: int) -> Example:
        return _Record.model_validate_json(raw).example(f"{path.stem}-{number}")

    return parsed(path, found, make)


def _record(example: Example, made_id: str) -> dict[str, Any]:
    post = example.post
    if post.parse is None:
        raise no_room("stanza_json", example, "post.parse", "it needs one")
    words = [t.text for t in post.parse.tokens]
    sizes, heads = heads_in_sentences([t.head for t in post.parse.tokens])
    record: dict[str, Any] = {
        "token": words,
        "pos": [t.pos for t in post.parse.tokens],
        "head": heads,
        "deprel": [t.rel for t in post.parse.tokens],
        "aspects": [_labelled(example, words, o) for o in example.opinions],
    }
    extra = {
        "id": "" if post.id == made_id else post.id,
        "sentences": sizes if must_say(sizes, heads) else None,
        "meta": post.meta,
    }
    return record | {k: v for k, v in extra.items() if v}


def _labelled(example: Example, words: list[str], opinion: Opinion) -> dict[str, Any]:
    label = opinion.raw if opinion.polarity is None else opinion.polarity.value
    span = span_of(words, opinion.aspect)
    if opinion.by != GOLD or label is None:
        raise no_room("stanza_json", example, "opinions", "gold labels only")
    if span is None:
        raise no_room("stanza_json", example, "post.aspects", "whole words only")
    begin, end = span
    return {"term": words[begin:end], "from": begin, "to": end, "polarity": label}
