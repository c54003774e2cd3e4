"""Prose: a reason is sentences about the post, not markup, links, or a form filled in.

Weak teachers add pictures by address, headings, and the whole answer once more with its label
field; a student would learn to write them. Refused are links and markup of any kind, label fields
(as the audit finds them) and reasons of several paragraphs.

    gates={prose: {}}
"""

import re
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, JsonValue

from gen_msa.annotation.filters.base import NO_EXPLANATION, Candidate, FilterContext, Stage, filters
from gen_msa.data.label_leak import LABEL_FIELD_PATTERN
from gen_msa.settings import Settings

_LINK = re.compile(r"https?:|www\.|!?\[[^\]\n]*\]\(", re.IGNORECASE)
_MARKUP = re.compile(r"</?\w+[^>\n]*>|```|\*\*|^\s*#+\s|^\s*\|.*\|\s*$|<\|", re.MULTILINE)


class PlainProseOptions(Settings):
    """How much form is let pass."""

    max_paragraphs: int = Field(default=1, ge=1)
    """Blocks of text with an empty line between them that a reason may have."""


@filters.register
class PlainProseFilter:
    """Looks for what is no sentence."""

    Options: ClassVar[type[Settings]] = PlainProseOptions
    stage: ClassVar[Stage] = "text"

    def __init__(self, options: PlainProseOptions, context: FilterContext) -> None:
        self._max_paragraphs = options.max_paragraphs

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Refuses links, markup, label fields, and too many paragraphs."""
        return [self._verdict(row.explanation) for row in rows]

    def fingerprint(self) -> JsonValue:
        """The version of its rules."""
        return 1

    def _verdict(self, explanation: str) -> str | None:
        if not explanation:
            return NO_EXPLANATION
        for problem, pattern in (
            ("a link", _LINK),
            ("markup", _MARKUP),
            ("a label field", LABEL_FIELD_PATTERN),
        ):
            if match := pattern.search(explanation):
                return f"{problem}: {match[0].strip()[:60]!r}"
        blocks = len(re.findall(r"\n\s*\n", explanation)) + 1
        return (
            f"{blocks} paragraphs, at most {self._max_paragraphs}"
            if blocks > self._max_paragraphs
            else None
        )
