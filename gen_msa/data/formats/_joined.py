"""Adjacent rows of a table made into one post each; a row that does not fit is set aside alone.

Rows belong together when they have the same id or, where there is none, the same text and
pictures and each an aspect. A column of the user's own that differs between the rows of a post
becomes a list in `Post.meta`, one value a row. Knows nothing of columns (`_cells` does).

    list(Joined(path, records(file, path, need=("text",))))
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import JsonValue, ValidationError

from gen_msa.data.formats._cells import Row, row_of
from gen_msa.data.formats._rows import images, rejected
from gen_msa.data.formats._table import Record
from gen_msa.jsonl import reason_of
from gen_msa.types import Aspect, Example, Post, Rejected

_MEND = "set the cell right; the docstring of gen_msa.data.formats.csv describes every column"


class Joined:
    """Posts from rows. `Rejected` rows come as soon as they are met, a post after its last row."""

    def __init__(self, path: Path, found: Iterable[Record | Rejected]) -> None:
        self._path = path
        self._found = found
        self._rows: list[Row] = []
        self._id = ""
        self._ends: dict[tuple[str, str], int] = {}
        """Where the next mention of a term may begin, for each reader and term."""

    def __iter__(self) -> Iterator[Example | Rejected]:
        for record in self._found:
            if isinstance(record, Rejected):
                yield record
                continue
            try:
                row = row_of(record.cells)
                if self._rows and not self._belongs(row):
                    yield self._post()
                self._add(row, record.line)
            except ValueError as e:
                reason = reason_of(e) if isinstance(e, ValidationError) else str(e)
                yield rejected(self._path, record.line, reason, record.raw.rstrip(b"\r\n"), _MEND)
        if self._rows:
            yield self._post()

    def _belongs(self, row: Row) -> bool:
        first = self._rows[0]
        if row.id or first.id:
            return row.id == first.id
        same = (row.text, row.images) == (first.text, first.images)
        return same and bool(row.aspect.term) and bool(first.aspect.term)

    def _add(self, row: Row, line: int) -> None:
        if not self._rows:
            self._id = row.id or f"{self._path.stem}-{line}"
            self._ends = {}
        elif row.text != self._rows[0].text:
            raise ValueError(f"post.text: another text under the same id {row.id!r}")
        elif row.images != self._rows[0].images:
            raise ValueError(f"post.media: other pictures under the same id {row.id!r}")
        self._rows.append(row.place(self._search(row)) if row.searched else row)

    def _search(self, row: Row) -> Aspect:
        """The aspect at its next mention, counted for each reader on its own."""
        term = row.aspect.term
        key = (row.opinion.by if row.opinion else "", term)
        begin = self._ends.get(key, 0)
        at = row.text.find(term, begin)
        if at < 0 and begin:
            raise ValueError(f"post.aspects: {term!r} is listed more often than it is mentioned")
        self._ends[key] = at + len(term) if at >= 0 else len(row.text) + 1
        return Aspect(term=term, start=at if at >= 0 else None)

    def _post(self) -> Example:
        rows, self._rows = self._rows, []
        post = Post(
            id=self._id,
            text=rows[0].text,
            media=images(rows[0].images),
            aspects=tuple(dict.fromkeys(r.aspect for r in rows if r.listed)),
            meta=_merged(rows),
        )
        return Example(post=post, opinions=tuple(r.opinion for r in rows if r.opinion))


def _merged(rows: list[Row]) -> dict[str, JsonValue]:
    merged: dict[str, JsonValue] = {}
    for key in dict.fromkeys(k for r in rows for k in r.meta):
        values = [r.meta.get(key) for r in rows]
        merged[key] = values[0] if all(v == values[0] for v in values) else values
    return merged
