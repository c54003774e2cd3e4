"""One row of a table: what its cells say about one aspect of a post, and the cells for an example.

Knows nothing of delimiters, or of which rows make up one post (`_joined` does).

    list(cells_of(Example(post=Post(id="1", text="hi"))))      # [["1", "hi", None, …]]
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import JsonValue, TypeAdapter

from gen_msa.data.formats._rows import GOLD, no_room, polarity_of
from gen_msa.types import Aspect, Evidence, Example, Opinion, Polarity, Status

_PROBS = {f"p_{p}": p for p in Polarity}
_SAID = ("polarity", "score", *_PROBS, "explanation", "raw", "status", "evidence", "how")
COLUMNS = ("id", "text", "images", "aspect", "start", "given", "by", *_SAID, "meta")
_KNOWN = {*COLUMNS, "image"}

_META = TypeAdapter(dict[str, JsonValue])
_EVIDENCE = TypeAdapter(tuple[Evidence, ...])
_HOW = TypeAdapter(dict[str, str])

Cell = str | int | float | None


@dataclass(frozen=True)
class Row:
    """What one row says. `searched` means that the aspect's place is still to be found."""

    id: str
    text: str
    images: tuple[str, ...]
    aspect: Aspect
    listed: bool
    """The post lists the aspect; else only the opinion names it."""
    searched: bool
    opinion: Opinion | None
    meta: dict[str, JsonValue] = field(default_factory=dict)

    def place(self, aspect: Aspect) -> "Row":
        """The row with the place of its aspect found."""
        said = self.opinion and self.opinion.model_copy(update={"aspect": aspect})
        rest = (self.id, self.text, self.images, aspect, self.listed)
        return Row(*rest, searched=False, opinion=said, meta=self.meta)


def row_of(cells: dict[str, str]) -> Row:
    """The cells of a row, by column.

    Raises `ValueError` (pydantic's `ValidationError` is one) saying which cell is wrong.
    """
    text = cells["text"]
    term, start = cells.get("aspect", ""), cells.get("start", "")
    aspect = Aspect(term=term, start=_whole_number("start", start) if start else None)
    if aspect.start is not None and not text.startswith(term, aspect.start):
        raise ValueError(f"post.aspects: {term!r} is not at {aspect.start} in the text")
    given = cells.get("given", "")
    if given not in ("", "yes", "no"):
        raise ValueError(f"given: {given!r} is neither yes nor no")
    paths = f"{cells.get('image', '')}\n{cells.get('images', '')}".split("\n")
    return Row(
        id=cells.get("id", ""),
        text=text,
        images=tuple(p for p in paths if p),
        aspect=aspect,
        listed=given == "yes" if given else bool(term),
        searched=bool(term) and "start" not in cells,
        opinion=_opinion(cells, aspect),
        meta=_meta(cells),
    )


def _opinion(cells: dict[str, str], aspect: Aspect) -> Opinion | None:
    said = {name: cells[name] for name in _SAID if cells.get(name)}
    if not said and not cells.get("by"):
        return None
    word = said.get("polarity", "")
    if word and polarity_of(word) is None:
        raise ValueError(f"opinions.polarity: {word!r} is none of {', '.join(Polarity)}")
    if not math.isfinite(float(said.get("score", "0"))):
        raise ValueError("opinions.score: not a finite number")
    return Opinion(
        by=cells.get("by") or GOLD,
        aspect=aspect,
        polarity=polarity_of(word),
        score=float(said["score"]) if "score" in said else None,
        probs={p: float(said[c]) for c, p in _PROBS.items() if c in said} or None,
        explanation=said.get("explanation"),
        evidence=_EVIDENCE.validate_json(said.get("evidence", "[]")),
        raw=said.get("raw"),
        status=Status(said.get("status", Status.OK)),
        how=_HOW.validate_json(said.get("how", "{}")),
    )


def _meta(cells: dict[str, str]) -> dict[str, JsonValue]:
    own = _META.validate_json(cells.get("meta") or "{}")
    added: dict[str, JsonValue] = {c: v for c, v in cells.items() if c not in _KNOWN and v}
    twice = sorted(set(own) & set(added))
    if twice:
        raise ValueError(f"post.meta: {twice[0]!r} stands both in its column and in meta")
    return own | added


def _whole_number(name: str, cell: str) -> int:
    if not (cell.isascii() and cell.isdigit()):
        raise ValueError(f"{name}: {cell!r} is not a whole number")
    return int(cell)


def cells_of(example: Example) -> Iterator[list[Cell]]:
    """The rows of a post in the order of `COLUMNS`; one with an empty aspect when it has none.

    Raises `UserError` for media other than pictures; other misfits show when rows are read back.
    """
    post = example.post
    if any(m.kind != "image" for m in post.media):
        raise no_room("csv", example, "post.media", "pictures only")
    images = "\n".join(m.path for m in post.media)
    meta = json.dumps(post.meta, ensure_ascii=False) if post.meta else None
    for aspect, opinion in _pairs(example) or [(Aspect(term=""), None)]:
        listed = aspect in post.aspects
        given = None if listed == bool(aspect.term) else "yes" if listed else "no"
        head = [post.id, post.text, images, aspect.term, aspect.start, given]
        yield [*head, *_said(opinion), meta]


def _pairs(example: Example) -> list[tuple[Aspect, Opinion | None]]:
    """Each opinion with its aspect; bare aspects where the order of the post's needs them."""
    waiting = list(example.post.aspects)
    pairs: list[tuple[Aspect, Opinion | None]] = []
    for opinion in example.opinions:
        if opinion.aspect in waiting:
            at = waiting.index(opinion.aspect)
            pairs += [(a, None) for a in waiting[:at]]
            del waiting[: at + 1]
        pairs.append((opinion.aspect, opinion))
    return pairs + [(a, None) for a in waiting]


def _said(opinion: Opinion | None) -> list[Cell]:
    if opinion is None:
        return [None] * (1 + len(_SAID))
    probs = opinion.probs or {}
    status = None if opinion.status is Status.OK else opinion.status.value
    evidence = _EVIDENCE.dump_json(opinion.evidence).decode() if opinion.evidence else None
    how = json.dumps(opinion.how, ensure_ascii=False) if opinion.how else None
    head = [opinion.by, opinion.polarity and opinion.polarity.value, opinion.score]
    tail = [opinion.explanation, opinion.raw, status, evidence, how]
    return [*head, *(probs.get(p) for p in Polarity), *tail]
