"""The explanation has a number of words within limits.

Words are runs of letters and digits; each Han or kana character is a word.

    filters={length: {min_words: 4, max_words: 60}}
"""

from collections.abc import Sequence
from typing import ClassVar, Self

from pydantic import Field, JsonValue, model_validator

from gen_msa.annotation.filters.base import Candidate, FilterContext, Stage, filters
from gen_msa.metrics.explanation_text import split_words
from gen_msa.settings import Settings


class LengthOptions(Settings):
    """Limits of the number of words."""

    min_words: int = Field(default=4, ge=0)
    max_words: int = Field(default=60, ge=1)

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError("min_words is greater than max_words: nothing could pass")
        return self


@filters.register
class LengthFilter:
    """Counts words."""

    Options: ClassVar[type[Settings]] = LengthOptions
    stage: ClassVar[Stage] = "text"

    def __init__(self, options: LengthOptions, context: FilterContext) -> None:
        self._options = options

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Reject an explanation that is too short or too long."""
        return [self._verdict(len(split_words(row.explanation))) for row in rows]

    def fingerprint(self) -> JsonValue:
        """Return None: only the options matter."""
        return None

    def _verdict(self, count: int) -> str | None:
        if count < self._options.min_words:
            return f"{count} words, at least {self._options.min_words}"
        if count > self._options.max_words:
            return f"{count} words, at most {self._options.max_words}"
        return None
