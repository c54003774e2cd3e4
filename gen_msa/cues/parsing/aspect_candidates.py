"""Propose aspects from a parse, for models that cannot list them.

Candidates are noun chunks and named entities of the parse, without articles, pronouns, mentions,
URLs, times and amounts. Many candidates have no opinion in the post. A post in a language without
a parser has none.

    aspect_candidates([Post(id="1", text="Great screen, awful battery")])    # [(screen, battery)]
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from gen_msa.cues.parsing import spacy_pipeline
from gen_msa.cues.parsing.lexicon import is_junk, word_set
from gen_msa.language import AUTO, resolve_language
from gen_msa.preemption import preemption_point
from gen_msa.types import Aspect, Post

MAX_CANDIDATES = 8
"""Default maximum of aspects for one post."""

PIECE_CHARS = 2_000
"""A longer text is parsed in pieces of at most so many characters: aspects are taken in the order
of the text, and its beginning is mostly enough.
"""

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")
_EXCLUDED_ENTITY_TYPES = word_set("CARDINAL DATE LANGUAGE MONEY NORP ORDINAL PERCENT QUANTITY TIME")
_EDGE_POS = word_set("ADP CCONJ DET PART PRON PUNCT SPACE SYM")
_NOUN_POS = frozenset({"NOUN", "PROPN"})
_MODIFIER_RELATIONS = frozenset({"compound", "nmod", "poss"})
_VAGUE_NOUNS = word_set(
    "thing things one ones lot lots bit way time times day days night today tonight tomorrow"
    " yesterday week month year people someone anyone everyone everything something anything"
    " nothing kind sort rt via amp lol omg"
)
MAX_WORDS = 5


def aspect_candidates(
    posts: Sequence[Post], *, max_candidates: int = MAX_CANDIDATES, language: str = AUTO
) -> list[tuple[Aspect, ...]]:
    """Propose aspects for each post, in text order; none for an empty text.

    Spans do not overlap, and a term is proposed only at its first mention.

    Args:
        posts: The posts.
        max_candidates: Maximum aspects of one post.
        language: The language of the posts; `auto` to detect it.

    Returns:
        Up to `max_candidates` aspects per post, each with its character offset; none for a text of
        more than `spacy_pipeline.MAX_CHARS` characters, or in a language without a parser.

    Raises:
        MissingExtra: The English model is not installed.
    """
    rows_by_model: dict[str, list[int]] = {}
    for row, post in enumerate(posts):
        model = candidate_model(post.text, language)
        if model and len(post.text) <= spacy_pipeline.MAX_CHARS:
            rows_by_model.setdefault(model, []).append(row)
    candidates: list[tuple[Aspect, ...]] = [()] * len(posts)
    for model, rows in rows_by_model.items():
        selected = _parse_candidates([posts[row].text for row in rows], model, max_candidates)
        for row, aspects in zip(rows, selected, strict=True):
            candidates[row] = aspects
    return candidates


def _parse_candidates(
    texts: list[str], model: str, max_candidates: int
) -> list[tuple[Aspect, ...]]:
    """Parse short texts together, and a long one piece by piece until it has enough aspects."""
    short = [row for row, text in enumerate(texts) if len(text) <= PIECE_CHARS]
    parsed = _parse_texts([texts[row] for row in short], model, max_candidates)
    candidates: list[tuple[Aspect, ...]] = [()] * len(texts)
    for row, aspects in zip(short, parsed, strict=True):
        candidates[row] = aspects
    for row in set(range(len(texts))).difference(short):
        candidates[row] = _parse_pieces(texts[row], model, max_candidates)
    return candidates


def _parse_texts(texts: list[str], model: str, max_candidates: int) -> list[tuple[Aspect, ...]]:
    return spacy_pipeline.map_docs(
        texts, model, lambda i, doc: _select_candidates(texts[i], doc, max_candidates)
    )


def _parse_pieces(text: str, model: str, max_candidates: int) -> tuple[Aspect, ...]:
    selected: dict[str, Aspect] = {}
    for start, end in _pieces(text):
        preemption_point()
        (aspects,) = _parse_texts([text[start:end]], model, max_candidates)
        for aspect in aspects:
            moved = Aspect(term=aspect.term, start=start + (aspect.start or 0))
            selected.setdefault(aspect.term.casefold(), moved)
        if len(selected) >= max_candidates:
            break
    return tuple(selected.values())[:max_candidates]


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Yield spans of at most `PIECE_CHARS` that end after a sentence, else after a word."""
    start = 0
    while start < len(text):
        end = start + PIECE_CHARS
        if end < len(text):
            ends = [m.end() for m in _SENTENCE_END.finditer(text, start + PIECE_CHARS // 2, end)]
            end = ends[-1] if ends else max(text.rfind(" ", start + 1, end) + 1, 0) or end
        yield start, min(end, len(text))
        start = end


def candidate_model(text: str, language: str = AUTO) -> str | None:
    """Return the model package that finds the aspects of a text; None without one.

    Args:
        text: The text.
        language: Its language; `auto` to detect it.
    """
    return spacy_pipeline.model_for(resolve_language(language, text), text)


def _select_candidates(text: str, doc: Any, max_candidates: int) -> tuple[Aspect, ...]:
    selected: dict[str, Aspect] = {}
    last_end = 0
    for start, end in sorted(_candidate_spans(doc), key=lambda span: (span[0], -span[1])):
        term = text[start:end]
        if start < last_end or term.casefold() in selected:
            continue
        selected[term.casefold()] = Aspect(term=term, start=start)
        last_end = end
        if len(selected) == max_candidates:
            break
    return tuple(selected.values())


def _candidate_spans(doc: Any) -> Iterator[tuple[int, int]]:
    """Yield character spans of entities and of the nouns of noun chunks."""
    for entity in doc.ents:
        if entity.label_ not in _EXCLUDED_ENTITY_TYPES:
            yield from _trim_span(list(entity))
    for chunk in _noun_chunks(doc):
        if chunk.root.pos_ in _NOUN_POS and chunk.root.ent_type_ not in _EXCLUDED_ENTITY_TYPES:
            yield from _trim_span(_noun_compound(chunk))


def _noun_chunks(doc: Any) -> list[Any]:
    """Return the noun chunks; for a language without rules for them, every noun."""
    try:
        return list(doc.noun_chunks)
    except NotImplementedError:
        return [doc[t.i : t.i + 1] for t in doc if t.pos_ in _NOUN_POS]


def _noun_compound(chunk: Any) -> list[Any]:
    """Return the head of a chunk with the nouns right before it, such as "battery life"."""
    first = chunk.root.i
    while first > chunk.start:
        previous = chunk.doc[first - 1]
        if previous.pos_ not in _NOUN_POS or previous.dep_ not in _MODIFIER_RELATIONS:
            break
        first -= 1
    return list(chunk.doc[first : chunk.root.i + 1])


def _trim_span(tokens: list[Any]) -> Iterator[tuple[int, int]]:
    """Yield the span without words that cannot start or end a name, if enough is left."""
    while tokens and _is_edge(tokens[0]):
        tokens = tokens[1:]
    while tokens and _is_edge(tokens[-1]):
        tokens = tokens[:-1]
    if not tokens or len(tokens) > MAX_WORDS or any(is_junk(t.lower_) for t in tokens):
        return
    if len(tokens) == 1 and tokens[0].lower_ in _VAGUE_NOUNS:
        return
    if tokens[0].i and tokens[0].nbor(-1).text == "@":
        return  # the name of a mention in a tokenized tweet
    if any(t.text[:1].isalpha() for t in tokens):
        yield tokens[0].idx, tokens[-1].idx + len(tokens[-1].text)


def _is_edge(token: Any) -> bool:
    return token.pos_ in _EDGE_POS
