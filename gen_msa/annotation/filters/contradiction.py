"""The explanation states no other label than the answer.

A label is stated where its word stands beside a word like sentiment, tone or opinion, outside
quotation marks, in a clause without negation or doubt ("no positive or negative words" states
none). Clauses that name the aspect take precedence. An explanation that also states the answer's
label, of something else, passes; the filter `label_recovery` can catch the rest. English only.

    filters={contradiction: {}}
"""

import re
from collections.abc import Sequence
from typing import ClassVar

from pydantic import JsonValue

from gen_msa.annotation.filters.base import NO_EXPLANATION, Candidate, FilterContext, Stage, filters
from gen_msa.settings import Settings
from gen_msa.spans import QUOTATION, fold
from gen_msa.types import Polarity

_LABEL = re.compile(r"\b(positive|negative|neutral)(?:ly)?\b", re.IGNORECASE)
_SENTIMENT_NOUN = re.compile(
    r"\b(?:sentiments?|tone|attitude|opinions?|feelings?|emotions?|polarity|label|stance|view)\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"\b(?:not?|nor|neither|without|lacks?|lacking|never|none|cannot|any|absence|hardly|unclear"
    r"|could|may|might|would|whether|if|either|possibl[ey]|perhaps)\b|n't\b|n’t\b",
    re.IGNORECASE,
)
_CLAUSE_BREAK = re.compile(
    r"[.;!?\n]|,|:\s|\b(?:but|rather|although|though|while|whereas|however)\b"
)


class ContradictionOptions(Settings):
    """There are no options."""


@filters.register
class ContradictionFilter:
    """Finds stated labels clause by clause."""

    Options: ClassVar[type[Settings]] = ContradictionOptions
    stage: ClassVar[Stage] = "text"

    def __init__(self, options: ContradictionOptions, context: FilterContext) -> None:
        pass

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Reject an explanation that states other labels, and not the answer's."""
        return [self._verdict(row) for row in rows]

    def fingerprint(self) -> JsonValue:
        """Return the version of the rules."""
        return 1

    def _verdict(self, row: Candidate) -> str | None:
        if not row.explanation:
            return NO_EXPLANATION
        labels = claim_words(row.explanation, row.opinion.aspect.term.lstrip("#@ "))
        if not labels or row.opinion.polarity in labels:
            return None
        return f"it says {' and '.join(sorted(labels))}; the label is {row.opinion.polarity}"


def claim_words(explanation: str, term: str) -> set[Polarity]:
    """Return the labels that an explanation states.

    Args:
        explanation: The text.
        term: The aspect. If clauses name it, only these count.
    """
    labelled_clauses = [(c, labels) for c in _clauses(explanation) if (labels := _clause_labels(c))]
    aspect_labels = [labels for c, labels in labelled_clauses if term and fold(term) in fold(c)]
    return set().union(*(aspect_labels or [labels for _, labels in labelled_clauses]))


def _clauses(explanation: str) -> list[str]:
    return _CLAUSE_BREAK.split(QUOTATION.sub(" … ", explanation))


def _clause_labels(clause: str) -> set[Polarity]:
    if not _SENTIMENT_NOUN.search(clause):
        return set()
    return {
        Polarity(m[1].lower())
        for m in _LABEL.finditer(clause)
        if not _NEGATION.search(clause, 0, m.start())
    }
