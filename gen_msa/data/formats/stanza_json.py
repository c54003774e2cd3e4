"""SemEval sentences with a dependency parse as JSON: token, pos, head, deprel, aspects.

The text is the tokens joined by single spaces; the parse becomes `Post.parse`, so no parser is
needed. Heads count from 1 within each sentence of a record, 0 is a root. If a record has several
sentences, which the file does not say, their roots separate them (`split_sentences`).

Some spans are slightly off their term, because words were tokenized again afterwards. Such an
aspect moves to its nearest whole words (`nearest_span`), or has no offset if there are none, and
`meta["spans"]` has the original span. Additional keys, written only if needed: `id` (default
FILE_STEM-N), `sentences` (tokens in each), `meta`.

    {"token": ["Good", "food"], "pos": ["JJ", "NN"], "head": [2, 0], "deprel": ["amod", "root"],
     "aspects": [{"term": ["food"], "from": 1, "to": 2, "polarity": "positive"}]}
"""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic_core import to_json

from gen_msa.data.formats._common import (
    GOLD_ANNOTATOR,
    NumberedLine,
    check_round_trip,
    gold_opinion_from_text,
    unsupported_field_error,
)
from gen_msa.data.formats._json_stream import first_record, iter_records, parse_records, write_array
from gen_msa.data.formats._word_spans import (
    WordSpan,
    aspect_from_words,
    nearest_span,
    starts_of,
    word_span,
)
from gen_msa.data.formats.base import ExampleStream, formats
from gen_msa.types import Aspect, Example, Opinion, Parse, Post, Rejected, Token

MAX_TOKENS = 120
"""Maximum tokens of a record with several sentences and without their sizes."""


def split_sentences(heads: Sequence[int]) -> list[int]:
    """Return the number of tokens of each sentence.

    Args:
        heads: Heads that count from 1 within their sentence; 0 is a root.

    Raises:
        ValueError: No split makes every sentence a tree, or there are too many tokens to try.
    """
    if not heads:
        return []
    if heads.count(0) == 1 and _is_tree(heads):
        return [len(heads)]
    if len(heads) > MAX_TOKENS:
        raise ValueError(
            f"head: no single tree, and over {MAX_TOKENS} tokens to split into sentences"
        )

    @cache
    def best_split_from(begin: int) -> tuple[int, list[int]] | None:
        if begin == len(heads):
            return 0, []
        best_split: tuple[int, list[int]] | None = None
        for end in range(len(heads), begin, -1):
            segment = heads[begin:end]
            remainder = best_split_from(end) if _is_tree(segment) else None
            if remainder and (
                best_split is None or _crossings(segment) + remainder[0] < best_split[0]
            ):
                best_split = _crossings(segment) + remainder[0], [end - begin, *remainder[1]]
        return best_split

    split = best_split_from(0)
    if split is None:
        raise ValueError("head: the heads form no trees")
    return split[1]


def _is_tree(heads: Sequence[int]) -> bool:
    if heads.count(0) != 1 or not all(0 <= h <= len(heads) for h in heads):
        return False
    reaches_root = {heads.index(0)}
    for token in range(len(heads)):
        path: set[int] = set()
        while token not in reaches_root and token not in path:
            path.add(token)
            token = heads[token] - 1
        if token not in reaches_root:
            return False
        reaches_root |= path
    return True


def _crossings(heads: Sequence[int]) -> int:
    arcs = [(min(i, h - 1), max(i, h - 1)) for i, h in enumerate(heads) if h]
    return sum(a < c < b < d for a, b in arcs for c, d in arcs)


def to_record_heads(heads: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """Convert heads counted within sentences to 0-based heads of the record, -1 for a root.

    Args:
        heads: Heads that count from 1 within their sentence; 0 is a root.
        sizes: Tokens of each sentence.

    Returns:
        One head per token of the record.

    Raises:
        ValueError: The sizes do not add up, or a head is outside its sentence.
    """
    if sum(sizes) != len(heads):
        raise ValueError(f"sentences: {sum(sizes)} tokens, but {len(heads)} heads")
    record_heads: list[int] = []
    for size in sizes:
        begin = len(record_heads)
        sentence_heads = heads[begin : begin + size]
        if not all(0 <= h <= size for h in sentence_heads):
            raise ValueError("head: a head outside its sentence")
        record_heads += [begin + h - 1 if h else -1 for h in sentence_heads]
    return record_heads


def to_sentence_heads(heads: Sequence[int]) -> tuple[list[int], list[int]]:
    """Convert 0-based heads of a record to sentence sizes and heads within sentences.

    Splits wherever no arc crosses and both sides have a root, so every sentence is as short as
    possible.
    """
    count = len(heads)
    lowest, roots = [count] * (count + 1), [0] * (count + 1)
    for i in range(count - 1, -1, -1):
        lowest[i] = min(lowest[i + 1], heads[i]) if heads[i] >= 0 else lowest[i + 1]
        roots[i] = roots[i + 1] + (heads[i] < 0)
    sizes, sentence_heads, begin, highest = [], [], 0, -1
    for end in range(1, count + 1):
        highest = max(highest, heads[end - 1])
        can_split = highest < end <= lowest[end] and 0 < roots[end] < roots[begin]
        if can_split or end == count:
            sentence_heads += [h - begin + 1 if h >= 0 else 0 for h in heads[begin:end]]
            sizes.append(end - begin)
            begin = end
    return sizes, sentence_heads


def needs_sentence_sizes(sizes: Sequence[int], heads: Sequence[int]) -> bool:
    """Return whether a record must store its sentence sizes, because heads alone give other ones.

    Args:
        sizes: Tokens of each sentence.
        heads: Heads that count from 1 within their sentence; 0 is a root.
    """
    try:
        return split_sentences(heads) != list(sizes)
    except ValueError:
        return True


class _StanzaAspect(WordSpan):
    polarity: str


class _StanzaRecord(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str = ""
    token: list[str]
    pos: list[str]
    head: list[int]
    deprel: list[str]
    aspects: list[_StanzaAspect]
    sentences: list[int] | None = None
    meta: dict[str, JsonValue] = {}

    def to_example(self, default_id: str) -> Example:
        starts = starts_of(self.token)
        sizes = self.sentences if self.sentences is not None else split_sentences(self.head)
        heads = to_record_heads(self.head, sizes)
        token_columns = zip(self.token, starts, heads, self.deprel, self.pos, strict=True)
        tokens = tuple(
            Token(text=t, start=s, head=h, rel=r, pos=p) for t, s, h, r, p in token_columns
        )
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
        return Example(
            post=post, opinions=tuple(gold_opinion_from_text(a, g.polarity) for a, g in labels)
        )


def _locate_span(
    aspect_span: _StanzaAspect, words: list[str], starts: list[int], meta: dict[str, JsonValue]
) -> Aspect:
    if (
        aspect_span.begin < aspect_span.end
        and words[aspect_span.begin : aspect_span.end] == aspect_span.term
    ):
        return aspect_from_words(words, starts, aspect_span.begin, aspect_span.end)
    original_span: JsonValue = {
        "term": list(aspect_span.term),
        "from": aspect_span.begin,
        "to": aspect_span.end,
    }
    earlier_spans = meta.get("spans", [])
    meta["spans"] = [
        *(earlier_spans if isinstance(earlier_spans, list) else [earlier_spans]),
        original_span,
    ]
    match = nearest_span(words, aspect_span)
    return (
        aspect_from_words(words, starts, *match)
        if match
        else Aspect(term=" ".join(aspect_span.term))
    )


@formats.register
class StanzaJson:
    """Reads and writes SemEval with a dependency parse."""

    suffixes: tuple[str, ...] = ()
    content_suffixes: tuple[str, ...] = (".json",)
    about = "SemEval JSON with token, pos, head, deprel: gives syntax cues without a parser."

    def recognizes(self, head: bytes) -> bool:
        """Return whether the first record has the keys of this format."""
        return first_record(head).keys() >= {"token", "head", "deprel"}

    def read(self, path: Path) -> ExampleStream:
        """Read every sentence, in order; a record that cannot be parsed is `Rejected`."""
        return _parse(path, iter_records(path))

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Write one record per post.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: The format cannot store a field of an example.
        """

        def dump(example: Example, number: int) -> list[bytes]:
            return [to_json(_record(example, f"{path.stem}-{number}"))]

        groups = check_round_trip(
            "stanza_json", examples, dump, lambda r, n: _parse(path, enumerate(r, n))
        )
        write_array(path, groups)


def _parse(path: Path, items: Iterable[NumberedLine | Rejected]) -> ExampleStream:
    def build_example(raw: bytes, number: int) -> Example:
        return _StanzaRecord.model_validate_json(raw).to_example(f"{path.stem}-{number}")

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
