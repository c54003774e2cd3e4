"""What a job writes: answers into the ledger, then examples and rejected rows into their files.

Knows nothing of how readings came to be, or whether they were made just now or in an earlier run.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from pydantic import JsonValue, TypeAdapter

from gen_msa.annotating._rows import Chunk, refused
from gen_msa.annotating._sieving import Failed, Sieve, failed_row
from gen_msa.data.label_leak import found_in
from gen_msa.ledger import Ledger
from gen_msa.readers import Reading
from gen_msa.types import Example, Opinion, Rejected, Status

_OPINIONS = TypeAdapter(tuple[Opinion, ...])


@dataclass
class Pending:
    """A chunk on its way: the ledger key of each example, and what the ledger already knew."""

    chunk: Chunk
    keys: Sequence[str]
    known: Mapping[str, JsonValue]
    kept: bool = False
    """Whether the answers that were not known are in the ledger already."""

    @property
    def new(self) -> list[str]:
        """The keys that the ledger did not know."""
        return [key for key in self.keys if key not in self.known]


@dataclass
class Counts:
    """The counts of a job; `written + rejected == rows`."""

    rows: int = 0
    written: int = 0
    rejected: int = 0
    repeated: int = 0
    """Posts answered from the ledger."""
    opinions: int = 0
    unread: int = 0
    """Opinions without a polarity, those of `unanswered` posts included."""
    unanswered: int = 0
    """Posts with an opinion that could not be had; the next run asks again."""
    failed: int = 0
    """Answers that a gate refused; they stand in the rejected file, not in `opinions`."""

    last_error: str = ""
    """What the last unanswered post was told."""

    def bad_share(self) -> float:
        """Share of rows rejected or unanswered, 0 to 1."""
        return (self.rejected + self.unanswered) / self.rows if self.rows else 0.0

    def add(self, said: Sequence[Opinion], kept: Sequence[Opinion]) -> None:
        """Count all that was said about one post, and what of it is kept."""
        self.opinions += len(kept)
        self.unread += sum(o.polarity is None for o in kept)
        if failed(said):
            self.unanswered += 1
            errors = [o.how.get("error", "") for o in said if o.status is Status.ERROR]
            self.last_error = errors[-1]


class Output:
    """The files of one job."""

    def __init__(
        self,
        source: str,
        good: IO[bytes],
        bad: IO[bytes],
        sieve: Sieve | None = None,
    ) -> None:
        """`sieve` parts what passed its gates from the rest; without one all is written."""
        self.sieve = sieve
        self.label_fields = 0
        """Found by the audit in what a sieve let through."""
        self.counts = Counts()
        self.posts = hashlib.sha256()
        """Over every post written: names the data a figure was made on."""
        self._source = source
        self._good = good
        self._bad = bad

    def write(self, chunk: Chunk, readings: Sequence[Reading]) -> None:
        """Write one chunk. `readings` are of its examples, in order."""
        examples: list[Example] = []
        rejected = list(chunk.rejected)
        for number, example, reading in zip(chunk.numbers, chunk.examples, readings, strict=True):
            if reading.refused:
                why, mend = reading.refused, reading.mend
                rejected.append(refused(self._source, number, example, why, mend))
            else:
                examples.append(self._with(example, reading.opinions, number, rejected))
                kept = examples[-1].opinions[len(example.opinions) :]
                self.counts.add(reading.opinions, kept)
        for e in examples:
            self.posts.update(e.post.model_dump_json().encode())
        self._good.writelines(e.model_dump_json().encode() + b"\n" for e in examples)
        self._bad.writelines(r.model_dump_json().encode() + b"\n" for r in rejected)
        self.counts.written += len(examples)
        self.counts.rejected += sum(not isinstance(r, Failed) for r in rejected)
        self.counts.rows = self.counts.written + self.counts.rejected

    def _with(
        self, example: Example, said: Sequence[Opinion], number: int, aside: list[Rejected]
    ) -> Example:
        """The example with what is kept of `said`; the rest is added to `aside`."""
        if self.sieve is None:
            return example.adding(*said)
        kept, failed, lost = self.sieve(example, said)
        aside += [failed_row(self._source, number, example, o, o.aspect in lost) for o in failed]
        self.counts.failed += len(failed)
        whole = example.adding(*kept)
        self.label_fields += len(found_in(self._source, [whole]))
        return whole


def settled(
    pending: Pending, fresh: Sequence[Reading], book: Ledger | None
) -> tuple[list[Reading], int]:
    """The reading of each example of a chunk, and how many of them the ledger knew.

    `fresh` are of the examples it did not know, in order; they go into the ledger first.
    """
    if book is not None and not pending.kept:
        keep(book, pending, fresh)
    coming = iter(fresh)
    made = [
        Reading(_OPINIONS.validate_python(pending.known[k])) if k in pending.known else next(coming)
        for k in pending.keys
    ]
    return made, len(made) - len(fresh)


def keep(book: Ledger, pending: Pending, fresh: Sequence[Reading]) -> None:
    """Put fresh answers into the ledger, perhaps before their chunk's turn; from any thread."""
    remember(book, dict(zip(pending.new, fresh, strict=True)))
    pending.kept = True


def remember(book: Ledger, readings: Mapping[str, Reading]) -> None:
    """Put readings into the ledger by key, but for those that the next run must ask for again."""
    whole = {k: r for k, r in readings.items() if not r.refused and not failed(r.opinions)}
    if whole:
        book.put({k: _OPINIONS.dump_python(r.opinions, mode="json") for k, r in whole.items()})


def failed(opinions: Sequence[Opinion]) -> bool:
    """Whether something could not be asked."""
    return any(o.status is Status.ERROR for o in opinions)
