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

from gen_msa.annotation.filters._pairs import as_metric_pair, build_cue_sources, image_descriptions
from gen_msa.annotation.filters.base import NO_EXPLANATION, Candidate, FilterContext, Stage, filters
from gen_msa.metrics.grounding import extract_claims
from gen_msa.settings import Settings


class GroundedOptions(Settings):
    """How many, and where they may come from besides the text."""

    min_claims: int = Field(default=1, ge=1)
    sources: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Cue sources (`objects`, `context`) with their options."""


@filters.register
class GroundedFilter:
    """Counts claims that have a source."""

    Options: ClassVar[type[Settings]] = GroundedOptions
    stage: ClassVar[Stage] = "text"

    def __init__(self, options: GroundedOptions, context: FilterContext) -> None:
        self._min_claims = options.min_claims
        self._sources = build_cue_sources("clues", options.sources, context)

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Refuses a reason with fewer than `least` claims that post or picture support."""
        image_texts = image_descriptions(self._sources, rows)
        return [
            self._verdict(row, image_text)
            for row, image_text in zip(rows, image_texts, strict=True)
        ]

    def fingerprint(self) -> JsonValue:
        """Of the sources, the bytes of their files included."""
        return [source.fingerprint() for source in self._sources]

    def _verdict(self, row: Candidate, image_text: str) -> str | None:
        if not row.explanation:
            return NO_EXPLANATION
        supported = [
            c
            for c in extract_claims(as_metric_pair(row, {"context": image_text}))
            if c.in_text or c.in_image
        ]
        if len(supported) >= self._min_claims:
            return None
        return f"{len(supported)} clues of the post, at least {self._min_claims}"
