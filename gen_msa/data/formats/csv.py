"""CSV and TSV: one row per opinion (or aspect); adjacent rows with one id are one post.

Columns, of which only `text` is required:

    id          empty: FILE_STEM-LINE; adjacent rows with equal text and images are joined
    text
    images      one path per line of the cell (`image` is accepted too)
    aspect      empty: the post as a whole
    start       offset of the aspect; empty: none. Without this column, terms are searched
    listed      `no`: the post does not list the aspect, a model found it; `yes`: it does
    annotator   of the following columns; empty: `gold`
    polarity, score, p_negative, p_neutral, p_positive, explanation
                only beside `polarity` or `annotator`
    raw, status, evidence, provenance
                only beside `annotator`
    meta        a JSON object; each other column is added to it as text

Files are written with exactly these columns. Not supported: a parse, media other than images, and
empty strings in fields where None means that there is no value.
"""

import io
import json
import math
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue, TypeAdapter, ValidationError

from gen_msa.data.formats._common import (
    GOLD_ANNOTATOR,
    check_round_trip,
    gold_opinion_from_text,
    image_media,
    locate_aspects,
    reject_row,
    unsupported_field_error,
)
from gen_msa.data.formats._encoding import open_as_utf8
from gen_msa.data.formats._flat import CONFLICT, check_topic, rename_columns, warn_of_labels
from gen_msa.data.formats._opinion_table import is_opinion_table, restore
from gen_msa.data.formats._simple import warn_of_other_labels
from gen_msa.data.formats._table import TableRecord, iter_table_records, record_bytes
from gen_msa.data.formats.base import ExampleStream, ReadOptions, formats
from gen_msa.data.formats.keys import intended_key
from gen_msa.data.formats.labels import parse_polarity, unknown_label
from gen_msa.errors import InputWarning
from gen_msa.jsonl import (
    MAX_LINE_BYTES,
    atomic_write,
    check_duplicate_keys,
    format_validation_error,
)
from gen_msa.types import Aspect, Evidence, Example, Opinion, Polarity, Post, Rejected, Status

_PROBS = {f"p_{p}": p for p in Polarity}
_OPINION_COLUMNS = (
    "polarity",
    "score",
    *_PROBS,
    "explanation",
    "raw",
    "status",
    "evidence",
    "provenance",
)
_LABEL_COLUMNS = ("polarity", "score", *_PROBS, "explanation")
"""Columns of opinions in a file without `annotator`."""
COLUMNS = (
    "id",
    "text",
    "images",
    "aspect",
    "start",
    "listed",
    "annotator",
    *_OPINION_COLUMNS,
    "meta",
)
_POST_COLUMNS = ("id", "text", "image", "images", "aspect", "start", "listed", "annotator", "meta")
_KNOWN_COLUMNS = {*COLUMNS, "image"}

_META = TypeAdapter(dict[str, JsonValue])
_EVIDENCE = TypeAdapter(tuple[Evidence, ...])
_PROVENANCE = TypeAdapter(dict[str, str])

Cell = str | int | float | None


@dataclass(frozen=True)
class CsvRow:
    """One parsed row."""

    id: str
    text: str
    images: tuple[str, ...]
    aspect: Aspect
    listed: bool
    """Whether the post lists the aspect; otherwise only the opinion names it."""
    needs_search: bool
    opinion: Opinion | None
    meta: dict[str, JsonValue] = field(default_factory=dict)

    @property
    def annotator(self) -> str:
        """Who has the opinion; "" for a row without one."""
        return self.opinion.annotator if self.opinion else ""

    def with_aspect(self, aspect: Aspect) -> "CsvRow":
        """Return the row with a located aspect."""
        opinion = self.opinion and self.opinion.model_copy(update={"aspect": aspect})
        values = (self.id, self.text, self.images, aspect, self.listed)
        return CsvRow(*values, needs_search=False, opinion=opinion, meta=self.meta)


def parse_row(cells: dict[str, str]) -> CsvRow:
    """Parse the cells of a row, by column.

    Raises:
        ValueError: A cell is invalid; the message says which. Includes pydantic's
            `ValidationError`.
    """
    text = cells["text"]
    term, start = cells.get("aspect", ""), cells.get("start", "")
    aspect = Aspect(term=term, start=_parse_int("start", start) if start else None)
    if aspect.start is not None and not text.startswith(term, aspect.start):
        raise ValueError(f"post.aspects: {term!r} is not at {aspect.start} in the text")
    listed_cell = cells.get("listed", "")
    if listed_cell not in ("", "yes", "no"):
        raise ValueError(f"listed: {listed_cell!r} is neither yes nor no")
    if cells.get("polarity") and not term:
        check_topic(cells)
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


def _opinion_columns(columns: Collection[str]) -> tuple[str, ...]:
    """Return the columns that hold opinions; a `score` or `status` alone is the user's own."""
    if "annotator" in columns:
        return _OPINION_COLUMNS
    return _LABEL_COLUMNS if "polarity" in columns else ()


def _parse_opinion(cells: dict[str, str], aspect: Aspect) -> Opinion | None:
    values = {name: cells[name] for name in _opinion_columns(cells) if cells.get(name)}
    for name in ("evidence", "provenance"):
        check_duplicate_keys(values.get(name, "[]"))
    if not values and not cells.get("annotator"):
        return None
    polarity_text = values.get("polarity", "")
    if polarity_text.strip().lower() == CONFLICT and len(values) == 1:
        return gold_opinion_from_text(aspect, polarity_text)
    if polarity_text and parse_polarity(polarity_text) is None:
        raise ValueError(f"opinions.polarity: {unknown_label(polarity_text)}")
    if not math.isfinite(float(values.get("score", "0"))):
        raise ValueError("opinions.score: not a finite number")
    return Opinion(
        annotator=cells.get("annotator") or GOLD_ANNOTATOR,
        aspect=aspect,
        polarity=parse_polarity(polarity_text),
        score=float(values["score"]) if "score" in values else None,
        probs={p: float(values[c]) for c, p in _PROBS.items() if c in values} or None,
        explanation=values.get("explanation"),
        evidence=_EVIDENCE.validate_json(values.get("evidence", "[]")),
        raw=values.get("raw"),
        status=Status(values.get("status", Status.OK)),
        provenance=_PROVENANCE.validate_json(values.get("provenance", "{}")),
    )


def _parse_meta(cells: dict[str, str]) -> dict[str, JsonValue]:
    meta_cell = cells.get("meta") or "{}"
    check_duplicate_keys(meta_cell)
    explicit_meta: dict[str, JsonValue] = (
        _META.validate_json(meta_cell) if meta_cell.startswith("{") else {"meta": meta_cell}
    )
    known = {*_POST_COLUMNS, *_opinion_columns(cells)}
    extra_columns: dict[str, JsonValue] = {c: v for c, v in cells.items() if c not in known and v}
    duplicates = sorted(set(explicit_meta) & set(extra_columns))
    if duplicates:
        raise ValueError(f"post.meta: {duplicates[0]!r} is both a column and a key of meta")
    return explicit_meta | extra_columns


def _parse_int(name: str, cell: str) -> int:
    if not (cell.isascii() and cell.isdigit()):
        raise ValueError(f"{name}: {cell!r} is not a whole number")
    return int(cell)


def rows_from_example(example: Example) -> Iterator[list[Cell]]:
    """Yield the rows of a post in the order of `COLUMNS`; a post without aspects has one row.

    Raises:
        UserError: The post has other media than images. Other fields that do not fit are found when
            the rows are read back.
    """
    post = example.post
    if any(m.kind != "image" for m in post.media):
        raise unsupported_field_error("csv", example, "post.media", "images only")
    images = "\n".join(m.path for m in post.media)
    meta = json.dumps(post.meta, ensure_ascii=False) if post.meta else None
    for aspect, opinion in _aspect_opinion_pairs(example) or [(Aspect(term=""), None)]:
        listed = aspect in post.aspects
        listed_cell = None if listed == bool(aspect.term) else "yes" if listed else "no"
        head = [post.id, post.text, images, aspect.term, aspect.start, listed_cell]
        yield [*head, *_opinion_cells(opinion), meta]


def _aspect_opinion_pairs(example: Example) -> list[tuple[Aspect, Opinion | None]]:
    """Return each opinion with its aspect, and aspects without an opinion in their order."""
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


_HINT = "correct the cell; the docstring of gen_msa.data.formats.csv describes every column"


class PostJoiner:
    """Posts from rows. `Rejected` rows are yielded at once, a post after its last row."""

    def __init__(
        self,
        path: Path,
        records: Iterable[TableRecord | Rejected],
        other_labels: Counter[str] | None = None,
    ) -> None:
        """Store the rows.

        Args:
            path: The file, for ids and messages.
            records: The records of the file.
            other_labels: Counts gold labels outside the three classes.
        """
        self._path = path
        self._other_labels = Counter[str]() if other_labels is None else other_labels
        self._records = records
        self._rows: list[CsvRow] = []
        self._id = ""
        self._line = 0
        """Where the post begins."""
        self._mentions: Counter[tuple[str, str]] = Counter()
        """How often each annotator lists each term that is to be located."""

    def __iter__(self) -> Iterator[Example | Rejected]:
        columns: Iterable[str] = ()
        for record in self._records:
            if isinstance(record, Rejected):
                yield record
                continue
            try:
                if is_opinion_table(record.cells):
                    record = restore(record)
                record = rename_columns(record)
                if record.cells.keys() != columns:
                    columns = record.cells.keys()
                    warn_of_columns(self._path, columns)
                row = parse_row(record.cells)
                if self._rows and not self._is_same_post(row):
                    yield self._flush_post()
                self._append_row(row, record)
            except ValueError as e:
                reason = format_validation_error(e) if isinstance(e, ValidationError) else str(e)
                yield reject_row(self._path, record.line, reason, record.raw.rstrip(b"\r\n"), _HINT)
        if self._rows:
            yield self._flush_post()

    def _is_same_post(self, row: CsvRow) -> bool:
        first = self._rows[0]
        if row.id or first.id:
            return row.id == first.id
        same_content = (row.text, row.images) == (first.text, first.images)
        return same_content and bool(row.aspect.term) and bool(first.aspect.term)

    def _append_row(self, row: CsvRow, record: TableRecord) -> None:
        if not self._rows:
            self._id = row.id or f"{self._path.stem}-{record.line}"
            self._line = record.line
            self._mentions = Counter()
        elif not (row.aspect.term or row.opinion or row.listed) or (
            row in self._rows and "annotator" not in record.cells
        ):  # Joined, it would vanish, or its label count twice.
            raise ValueError(f"id {self._id!r} is also in line {self._line}, with nothing else")
        elif row.text != self._rows[0].text:
            raise ValueError(f"post.text: another text under the same id {row.id!r}")
        elif row.images != self._rows[0].images:
            raise ValueError(f"post.media: other images under the same id {row.id!r}")
        if row.needs_search:
            self._check_mentions(row)
        self._rows.append(row)

    def _check_mentions(self, row: CsvRow) -> None:
        """Count the term for its annotator; refuse a row that lists it once too often."""
        term, key = row.aspect.term, (row.annotator, row.aspect.term)
        n = self._mentions[key] + 1
        if n > 1 and locate_aspects(row.text, [term] * n)[-1].start is None:
            raise ValueError(f"post.aspects: {term!r} is listed more often than it is mentioned")
        self._mentions[key] = n

    def _located_rows(self, rows: list[CsvRow]) -> list[CsvRow]:
        """Return the rows with offsets, located together for each annotator."""
        located = list(rows)
        for annotator in dict.fromkeys(key[0] for key in self._mentions):
            at = [
                i for i, row in enumerate(rows) if row.needs_search and row.annotator == annotator
            ]
            aspects = locate_aspects(rows[0].text, [rows[i].aspect.term for i in at])
            for i, aspect in zip(at, aspects, strict=True):
                located[i] = rows[i].with_aspect(aspect)
        return located

    def _flush_post(self) -> Example:
        rows, self._rows = self._located_rows(self._rows), []
        gold = (r.opinion for r in rows if r.opinion and r.annotator == GOLD_ANNOTATOR)
        self._other_labels.update(o.raw for o in gold if o.raw and o.status is Status.UNPARSED)
        post = Post(
            id=self._id,
            text=rows[0].text,
            media=image_media(rows[0].images),
            aspects=tuple(dict.fromkeys(r.aspect for r in rows if r.listed)),
            meta=_merge_meta(rows),
        )
        return Example(post=post, opinions=tuple(r.opinion for r in rows if r.opinion))


def warn_of_columns(path: Path, columns: Iterable[str]) -> None:
    """Announce columns that are kept in `meta` but look like labels, or like another column.

    Args:
        path: The file.
        columns: The columns of its rows.
    """
    extra = sorted(set(columns) - {*_POST_COLUMNS, *_opinion_columns(set(columns))})
    hint = "; --map polarity=COLUMN reads it, beside a column aspect if it is about one"
    warn_of_labels(path, extra, hint, "column")
    for column in extra:
        intended = intended_key(column, _KNOWN_COLUMNS)
        if intended and intended != column.casefold():  # a score without an annotator is a fact
            note = f"{path}: column {column!r} is not read; did you mean {intended!r}?"
            warnings.warn(InputWarning(note, column=1), stacklevel=2)


def _merge_meta(rows: list[CsvRow]) -> dict[str, JsonValue]:
    merged: dict[str, JsonValue] = {}
    for key in dict.fromkeys(k for r in rows for k in r.meta):
        values = [r.meta.get(key) for r in rows]
        merged[key] = values[0] if all(v == values[0] for v in values) else values
    return merged


@formats.register
class Csv:
    """Reads and writes CSV, and TSV by the suffix `.tsv`."""

    suffixes: tuple[str, ...] = (".csv", ".tsv")
    about = "CSV or TSV with a header: `text`, and optionally id, images, aspect, start, polarity."

    def read(self, path: Path) -> ExampleStream:
        """Read every post, in order; a row that cannot be parsed is `Rejected`."""
        return self.read_with(path, ReadOptions())

    def read_with(self, path: Path, options: ReadOptions) -> ExampleStream:
        """Read every post, in order, from columns of other names.

        Args:
            path: The file. Lines before the header that has the columns are not read; a note
                names their number.
            options: The names of columns.

        Returns:
            The examples, with `Rejected` in place of each row that cannot be read.
        """
        other_labels: Counter[str] = Counter()
        with open_as_utf8(path) as f:
            records = iter_table_records(f, path, ("text",), options.columns, options.sep)
            yield from PostJoiner(path, records, other_labels)
        warn_of_other_labels(path, other_labels)

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Write the examples below a fixed header.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: The format cannot store a field of an example.
        """
        header = record_bytes(COLUMNS, path)

        def dump(example: Example, number: int) -> list[bytes]:
            rows = [record_bytes(cells, path) for cells in rows_from_example(example)]
            if max(map(len, rows)) > MAX_LINE_BYTES:
                raise unsupported_field_error(
                    "csv", example, "the length", f"a row is over {MAX_LINE_BYTES} bytes"
                )
            return rows

        def parse(rows: list[bytes], number: int) -> ExampleStream:
            file = io.BytesIO(header + b"".join(rows))
            return iter(PostJoiner(path, iter_table_records(file, path, required=("text",))))

        with atomic_write(path) as f:
            f.write(header)
            for rows in check_round_trip("csv", examples, dump, parse, joins_adjacent=True):
                f.writelines(rows)
