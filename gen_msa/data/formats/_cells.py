"""One row of a table: what its cells say about one aspect of a post, and the cells for an example.

Knows nothing of delimiters, or of which rows make up one post (`_joined` does).

    list(cells_of(Example(post=Post(id="1", text="hi"))))      # [["1", "hi", None, …]]
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import JsonValue, TypeAdapter

from gen_msa.data.formats._rows import GOLD_ANNOTATOR, unsupported_field_error, parse_polarity
from gen_msa.types import Aspect, Evidence, Example, Opinion, Polarity, Status

_PROBS = {f"p_{p}": p for p in Polarity}
_OPINION_COLUMNS = ("polarity", "score", *_PROBS, "explanation", "raw", "status", "evidence", "how")
COLUMNS = ("id", "text", "images", "aspect", "start", "given", "by", *_OPINION_COLUMNS, "meta")
_KNOWN_COLUMNS = {*COLUMNS, "image"}

_META = TypeAdapter(dict[str, JsonValue])
_EVIDENCE = TypeAdapter(tuple[Evidence, ...])
_PROVENANCE = TypeAdapter(dict[str, str])

Cell = str | int | float | None


@dataclass(frozen=True)
class CsvRow:
    """What one row says. `searched` means that the aspect's place is still to be found."""

    id: str
    text: str
    images: tuple[str, ...]
    aspect: Aspect
    listed: bool
    """The post lists the aspect; else only the opinion names it."""
    needs_search: bool
    opinion: Opinion | None
    meta: dict[str, JsonValue] = field(default_factory=dict)

    def with_aspect(self, aspect: Aspect) -> "CsvRow":
        """The row with the place of its aspect found."""
        opinion = self.opinion and self.opinion.model_copy(update={"aspect": aspect})
        values = (self.id, self.text, self.images, aspect, self.listed)
        return CsvRow(*values, needs_search=False, opinion=opinion, meta=self.meta)


def parse_row(cells: dict[str, str]) -> CsvRow:
    """The cells of a row, by column.

    Raises `ValueError` (pydantic's `ValidationError` is one) saying which cell is wrong.
    """
    text = cells["text"]
    term, start = cells.get("aspect", ""), cells.get("start", "")
    aspect = Aspect(term=term, start=_parse_int("start", start) if start else None)
    if aspect.start is not None and not text.startswith(term, aspect.start):
        raise ValueError(f"post.aspects: {term!r} is not at {aspect.start} in the text")
    listed_cell = cells.get("given", "")
    if listed_cell not in ("", "yes", "no"):
        raise ValueError(f"given: {listed_cell!r} is neither yes nor no")
    paths = f"{cells.get('image', '')}\n{cells.get('images', '')}".split("\n")
    return CsvRow(
        id=cells.get("id", ""),
        text=text,
        images=tuple(p for p in paths if p),
        aspect=aspect,
        listed=listed_cell == "yes" if listed_cell else bool(term),
        needs_search=bool(term) and "start" not in cells,
        opinion=_parse_opinion(cells, aspect),
        meta=_parse_meta(cells),
    )


def _parse_opinion(cells: dict[str, str], aspect: Aspect) -> Opinion | None:
    values = {name: cells[name] for name in _OPINION_COLUMNS if cells.get(name)}
    if not values and not cells.get("by"):
        return None
    polarity_text = values.get("polarity", "")
    if polarity_text and parse_polarity(polarity_text) is None:
        raise ValueError(f"opinions.polarity: {polarity_text!r} is none of {', '.join(Polarity)}")
    if not math.isfinite(float(values.get("score", "0"))):
        raise ValueError("opinions.score: not a finite number")
    return Opinion(
        annotator=cells.get("by") or GOLD_ANNOTATOR,
        aspect=aspect,
        polarity=parse_polarity(polarity_text),
        score=float(values["score"]) if "score" in values else None,
        probs={p: float(values[c]) for c, p in _PROBS.items() if c in values} or None,
        explanation=values.get("explanation"),
        evidence=_EVIDENCE.validate_json(values.get("evidence", "[]")),
        raw=values.get("raw"),
        status=Status(values.get("status", Status.OK)),
        provenance=_PROVENANCE.validate_json(values.get("how", "{}")),
    )


def _parse_meta(cells: dict[str, str]) -> dict[str, JsonValue]:
    explicit_meta = _META.validate_json(cells.get("meta") or "{}")
    extra_columns: dict[str, JsonValue] = {c: v for c, v in cells.items() if c not in _KNOWN_COLUMNS and v}
    duplicates = sorted(set(explicit_meta) & set(extra_columns))
    if duplicates:
        raise ValueError(f"post.meta: {duplicates[0]!r} stands both in its column and in meta")
    return explicit_meta | extra_columns


def _parse_int(name: str, cell: str) -> int:
    if not (cell.isascii() and cell.isdigit()):
        raise ValueError(f"{name}: {cell!r} is not a whole number")
    return int(cell)


def rows_from_example(example: Example) -> Iterator[list[Cell]]:
    """The rows of a post in the order of `COLUMNS`; one with an empty aspect when it has none.

    Raises `UserError` for media other than pictures; other misfits show when rows are read back.
    """
    post = example.post
    if any(m.kind != "image" for m in post.media):
        raise unsupported_field_error("csv", example, "post.media", "pictures only")
    images = "\n".join(m.path for m in post.media)
    meta = json.dumps(post.meta, ensure_ascii=False) if post.meta else None
    for aspect, opinion in _aspect_opinion_pairs(example) or [(Aspect(term=""), None)]:
        listed = aspect in post.aspects
        listed_cell = None if listed == bool(aspect.term) else "yes" if listed else "no"
        head = [post.id, post.text, images, aspect.term, aspect.start, listed_cell]
        yield [*head, *_opinion_cells(opinion), meta]


def _aspect_opinion_pairs(example: Example) -> list[tuple[Aspect, Opinion | None]]:
    """Each opinion with its aspect; bare aspects where the order of the post's needs them."""
    remaining_aspects = list(example.post.aspects)
    pairs: list[tuple[Aspect, Opinion | None]] = []
    for opinion in example.opinions:
        if opinion.aspect in remaining_aspects:
            at = remaining_aspects.index(opinion.aspect)
            pairs += [(a, None) for a in remaining_aspects[:at]]
            del remaining_aspects[: at + 1]
        pairs.append((opinion.aspect, opinion))
    return pairs + [(a, None) for a in remaining_aspects]


def _opinion_cells(opinion: Opinion | None) -> list[Cell]:
    if opinion is None:
        return [None] * (1 + len(_OPINION_COLUMNS))
    probs = opinion.probs or {}
    status = None if opinion.status is Status.OK else opinion.status.value
    evidence = _EVIDENCE.dump_json(opinion.evidence).decode() if opinion.evidence else None
    provenance = json.dumps(opinion.provenance, ensure_ascii=False) if opinion.provenance else None
    head = [opinion.annotator, opinion.polarity and opinion.polarity.value, opinion.score]
    tail = [opinion.explanation, opinion.raw, status, evidence, provenance]
    return [*head, *(probs.get(p) for p in Polarity), *tail]
