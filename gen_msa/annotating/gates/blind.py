"""Blind: a second reader that sees the reason alone recovers the label from it.

The reason's label words are masked as simulatability masks them (what is left must carry the
label), and the reader sees neither post nor picture. Any reader will do: a student that was taught
to read reasons is cheap and good at it, the builtin reader is weak.

    gates={blind: {reader: "student:students/reasons"}}
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, JsonValue

from gen_msa import readers
from gen_msa.annotating.gates.base import NO_REASON, Bench, Candidate, Stage, gates
from gen_msa.metrics.masking import masked
from gen_msa.readers import ReaderSettings
from gen_msa.settings import Settings
from gen_msa.types import WHOLE_POST, Aspect, Opinion, Post


class BlindOptions(ReaderSettings):
    """The second reader, with all that can be set of a reader."""

    least: float = Field(default=0.0, ge=0.0, le=1.0)
    """Probability that it must give the label, where it gives probabilities."""


@gates.register
class Blind:
    """Has reasons read in place of posts."""

    Options: ClassVar[type[Settings]] = BlindOptions
    stage: ClassVar[Stage] = "asks"

    def __init__(self, options: BlindOptions, bench: Bench) -> None:
        given = options.model_fields_set & ReaderSettings.model_fields.keys()
        own = {name: getattr(options, name) for name in given}
        self._least = options.least
        self._reader = readers.make(ReaderSettings.model_validate(own), bench.media_root)

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Refuses a reason from which another label is read, or none."""
        there = [row for row in rows if row.reason]
        readings = self._reader.read([_alone(row) for row in there]) if there else []
        said = iter(readings)
        return [
            self._verdict(row, next(said).opinions) if row.reason else NO_REASON for row in rows
        ]

    def fingerprint(self) -> JsonValue:
        """The second reader's."""
        return self._reader.fingerprint()

    def _verdict(self, row: Candidate, read: Sequence[Opinion]) -> str | None:
        label = row.said.polarity
        guess = read[0] if read else None
        if guess is None or guess.polarity is None:
            return "no label could be read from it"
        if guess.polarity is not label:
            return f"it reads as {guess.polarity}; the label is {label}"
        sure = guess.probability
        if sure is not None and sure < self._least:
            return f"it reads as {label} with a probability of {sure:.2f} only"
        return None


def _alone(row: Candidate) -> Post:
    """A post whose text is the masked reason, asked about the same aspect; nothing else of it."""
    text, term = masked(row.reason), row.said.aspect.term
    start = text.find(term) if term else -1
    aspect = Aspect(term=term, start=start if start >= 0 else None) if term else WHOLE_POST
    return Post(id=row.post.id, text=text, aspects=(aspect,))
