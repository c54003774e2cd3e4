"""The explanation is plain sentences: no markup, links or label fields.

Weak teachers add image links, headings, and the complete answer again with its label field; a
student would learn to write them. Rejected are links, any markup, label fields (as found by
`data.label_leak`) and explanations of several paragraphs.

    filters={plain_prose: {}}
"""

import re
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, JsonValue

from gen_msa.annotation.filters.base import NO_EXPLANATION, Candidate, FilterContext, Stage, filters
from gen_msa.data.label_leak import LABEL_FIELD_PATTERN
from gen_msa.settings import Settings

# Repetitions are possessive and stop where another match could begin, so that a search is linear.
_LINK = re.compile(r"https?:|www\.|!?\[[^\[\]\n]*+\]\(", re.IGNORECASE)
_MARKUP = re.compile(
    r"</?\w++[^<>\n]*+>|```|\*\*|^[^\S\n]*+#++\s|^[^\S\n]*+\|.*\|[^\S\n]*$|<\|", re.MULTILINE
)


class PlainProseOptions(Settings):
    """How much structure is accepted."""

    max_paragraphs: int = Field(default=1, ge=1)
    """Maximum number of paragraphs, separated by empty lines."""


@filters.register
class PlainProseFilter:
    """Finds links, markup and label fields."""

    Options: ClassVar[type[Settings]] = PlainProseOptions
    stage: ClassVar[Stage] = "text"

    def __init__(self, options: PlainProseOptions, context: FilterContext) -> None:
        self._max_paragraphs = options.max_paragraphs

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Reject links, markup, label fields, and too many paragraphs."""
        return [self._verdict(row.explanation) for row in rows]

    def fingerprint(self) -> JsonValue:
        """Return the version of the rules."""
        return 2

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
