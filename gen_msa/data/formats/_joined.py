"""Adjacent rows of a table made into one post each; a row that does not fit is set aside alone.

Rows belong together when they have the same id or, where there is none, the same text and
pictures and each an aspect. A column of the user's own that differs between the rows of a post
becomes a list in `Post.meta`, one value a row. Knows nothing of columns (`_cells` does).

    list(Joined(path, records(file, path, need=("text",))))
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import JsonValue, ValidationError

from gen_msa.data.formats._cells import CsvRow, parse_row
from gen_msa.data.formats._rows import image_media, reject_row
from gen_msa.data.formats._table import TableRecord
from gen_msa.jsonl import format_validation_error
from gen_msa.types import Aspect, Example, Post, Rejected

_HINT = "set the cell right; the docstring of gen_msa.data.formats.csv describes every column"


class PostJoiner:
    """Posts from rows. `Rejected` rows come as soon as they are met, a post after its last row."""

    def __init__(self, path: Path, records: Iterable[TableRecord | Rejected]) -> None:
        self._path = path
        self._records = records
        self._rows: list[CsvRow] = []
        self._id = ""
        self._next_offsets: dict[tuple[str, str], int] = {}
        """Where the next mention of a term may begin, for each reader and term."""

    def __iter__(self) -> Iterator[Example | Rejected]:
        for record in self._records:
            if isinstance(record, Rejected):
                yield record
                continue
            try:
                row = parse_row(record.cells)
                if self._rows and not self._is_same_post(row):
                    yield self._flush_post()
                self._append_row(row, record.line)
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

    def _append_row(self, row: CsvRow, line: int) -> None:
        if not self._rows:
            self._id = row.id or f"{self._path.stem}-{line}"
            self._next_offsets = {}
        elif row.text != self._rows[0].text:
            raise ValueError(f"post.text: another text under the same id {row.id!r}")
        elif row.images != self._rows[0].images:
            raise ValueError(f"post.media: other pictures under the same id {row.id!r}")
        self._rows.append(row.with_aspect(self._locate_next_mention(row)) if row.needs_search else row)

    def _locate_next_mention(self, row: CsvRow) -> Aspect:
        """The aspect at its next mention, counted for each reader on its own."""
        term = row.aspect.term
        key = (row.opinion.annotator if row.opinion else "", term)
        begin = self._next_offsets.get(key, 0)
        at = row.text.find(term, begin)
        if at < 0 and begin:
            raise ValueError(f"post.aspects: {term!r} is listed more often than it is mentioned")
        self._next_offsets[key] = at + len(term) if at >= 0 else len(row.text) + 1
        return Aspect(term=term, start=at if at >= 0 else None)

    def _flush_post(self) -> Example:
        rows, self._rows = self._rows, []
        post = Post(
            id=self._id,
            text=rows[0].text,
            media=image_media(rows[0].images),
            aspects=tuple(dict.fromkeys(r.aspect for r in rows if r.listed)),
            meta=_merge_meta(rows),
        )
        return Example(post=post, opinions=tuple(r.opinion for r in rows if r.opinion))


def _merge_meta(rows: list[CsvRow]) -> dict[str, JsonValue]:
    merged: dict[str, JsonValue] = {}
    for key in dict.fromkeys(k for r in rows for k in r.meta):
        values = [r.meta.get(key) for r in rows]
        merged[key] = values[0] if all(v == values[0] for v in values) else values
    return merged
