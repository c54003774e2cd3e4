"""The explanation contains words of the post or of its image.

A weak teacher writes "it simply describes the scene" for every post. Counted are the claims of an
explanation (as in the metric `grounding`: quotes, and content words other than the aspect) that
occur in the text, or in the caption or detected objects of its image.

    filters={grounded: {min_claims: 1}}
    filters={grounded: {min_claims: 2, sources: {context: {files: [captions.json]}}}}
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from gen_msa.annotation.filters._pairs import as_metric_pair, build_cue_sources, image_descriptions
from gen_msa.annotation.filters.base import NO_EXPLANATION, Candidate, FilterContext, Stage, filters
from gen_msa.metrics.grounding import extract_claims
from gen_msa.settings import Settings


class GroundedOptions(Settings):
    """How many claims, and where they may come from besides the text."""

    min_claims: int = Field(default=1, ge=1)
    """Minimum number of supported claims."""
    sources: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Cue sources (`objects`, `context`) with their options."""


@filters.register
class GroundedFilter:
    """Counts supported claims."""

    Options: ClassVar[type[Settings]] = GroundedOptions
    stage: ClassVar[Stage] = "text"

    def __init__(self, options: GroundedOptions, context: FilterContext) -> None:
        self._min_claims = options.min_claims
        self._sources = build_cue_sources("grounded", options.sources, context)

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Reject an explanation with fewer than `min_claims` claims supported by post or image."""
        image_texts = image_descriptions(self._sources, rows)
        return [
            self._verdict(row, image_text)
            for row, image_text in zip(rows, image_texts, strict=True)
        ]

    def fingerprint(self) -> JsonValue:
        """Return the fingerprints of the sources, including the bytes of their files."""
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
        return f"{len(supported)} claims from the post, at least {self._min_claims}"
