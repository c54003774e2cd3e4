"""The rows of a job: read lazily, ids checked to be unique, bad rows set aside, cut into chunks.

Knows nothing of readers. A chunk is always made of the same rows, however often a job is resumed
and by however many workers it is done, so that a batch never depends on what was answered before.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Self

from gen_msa.data import ExampleSource
from gen_msa.types import Example, Rejected


@dataclass
class Chunk:
    """Consecutive rows of the source: the good ones with their numbers, and those set aside."""

    index: int = 0
    """Which chunk of the source, from 0."""
    examples: list[Example] = field(default_factory=list)
    row_numbers: list[int] = field(default_factory=list)
    """1-based row of each example in the source."""
    rejected: list[Rejected] = field(default_factory=list)


class SeenIds:
    """Which ids have been met, on disk once they are many: a million cost no memory to speak of."""

    def __init__(self) -> None:
        # Rows may be taken up in a thread and be let go of in another; never in two at once.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("CREATE TABLE ids (id TEXT PRIMARY KEY, row INT) WITHOUT ROWID")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def first_row(self, post_id: str, row: int) -> int:
        """The row that had this id first: `row` itself when it is new."""
        added = self._db.execute("INSERT OR IGNORE INTO ids VALUES (?, ?)", (post_id, row))
        if added.rowcount:
            return row
        existing = self._db.execute("SELECT row FROM ids WHERE id = ?", (post_id,))
        return int(existing.fetchone()[0])


def chunks(source: ExampleSource, size: int, limit: int | None, annotator: str) -> Iterator[Chunk]:
    """The source's rows in chunks of `size`; at most `limit` rows in all.

    Set aside are rows that could not be read, a second row with an id already met, and rows that
    already have opinions by `reader`.
    """
    rows = islice(source.rows(), limit)
    number = index = 0
    with SeenIds() as ids:
        while batch := list(islice(rows, size)):
            chunk, index = Chunk(index), index + 1
            for item in batch:
                number += 1
                if isinstance(item, Rejected):
                    chunk.rejected.append(item)
                elif (first_row := ids.first_row(item.post.id, number)) != number:
                    reason = f"id {item.post.id!r} already stands in row {first_row}"
                    hint = "give every post an id of its own"
                    chunk.rejected.append(as_rejected(source.name, number, item, reason, hint))
                elif item.opinions_by(annotator):
                    reason = f"post {item.post.id!r} already has opinions by {annotator!r}"
                    hint = "start from the file without them"
                    chunk.rejected.append(as_rejected(source.name, number, item, reason, hint))
                else:
                    chunk.examples.append(item)
                    chunk.row_numbers.append(number)
            yield chunk


def as_rejected(file: str, number: int, example: Example, reason: str, hint: str) -> Rejected:
    """A good row that the job sets aside all the same."""
    raw = example.post.text[:500]
    return Rejected(file=file, line=number, reason=reason, hint=hint, raw=raw)
