"""Clues: a reason takes something from the post, not from the teacher's habits.

A weak teacher says "it simply describes the scene" of every post. Counted are a reason's claims (as
the metric `grounding` takes it apart: quotes, and content words besides the aspect's name) that
stand in the post's text, or in what a caption or detector says of its picture.

    gates={clues: {least: 1}}
    gates={clues: {least: 2, sources: {context: {files: [captions.json]}}}}
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from gen_msa.annotating.gates._pairing import paired, seen_by, sources_of
from gen_msa.annotating.gates.base import NO_REASON, Bench, Candidate, Stage, gates
from gen_msa.metrics.grounding import claims
from gen_msa.settings import Settings


class CluesOptions(Settings):
    """How many, and where they may come from besides the text."""

    least: int = Field(default=1, ge=1)
    sources: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Cue sources (`objects`, `context`) with their options."""


@gates.register
class Clues:
    """Counts claims that have a source."""

    Options: ClassVar[type[Settings]] = CluesOptions
    stage: ClassVar[Stage] = "words"

    def __init__(self, options: CluesOptions, bench: Bench) -> None:
        self._least = options.least
        self._sources = sources_of("clues", options.sources, bench)

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Refuses a reason with fewer than `least` claims that post or picture support."""
        seen = seen_by(self._sources, rows)
        return [self._verdict(row, text) for row, text in zip(rows, seen, strict=True)]

    def fingerprint(self) -> JsonValue:
        """Of the sources, the bytes of their files included."""
        return [source.fingerprint() for source in self._sources]

    def _verdict(self, row: Candidate, seen: str) -> str | None:
        if not row.reason:
            return NO_REASON
        found = [c for c in claims(paired(row, {"context": seen})) if c.in_text or c.in_picture]
        if len(found) >= self._least:
            return None
        return f"{len(found)} clues of the post, at least {self._least}"
