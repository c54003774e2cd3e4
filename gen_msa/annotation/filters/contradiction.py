"""Contradiction: the reason's own words do not say another label than the answer's.

A reason says a label where the label's word stands beside a word like sentiment, tone or opinion,
outside quotation marks, in a clause that neither denies nor doubts it ("no positive or negative
words" says none). Clauses that name the aspect decide where there are any. A reason that says the
answer's label too, of something else, passes: whether the rest fits is for the gate `blind` to see.
English.

    gates={contradiction: {}}
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
    """None: there is one way to look."""


@filters.register
class ContradictionFilter:
    """Reads label words clause by clause."""

    Options: ClassVar[type[Settings]] = ContradictionOptions
    stage: ClassVar[Stage] = "text"

    def __init__(self, options: ContradictionOptions, context: FilterContext) -> None:
        pass

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Refuses a reason that says other labels, and not the answer's."""
        return [self._verdict(row) for row in rows]

    def fingerprint(self) -> JsonValue:
        """The version of its rules."""
        return 1

    def _verdict(self, row: Candidate) -> str | None:
        if not row.explanation:
            return NO_EXPLANATION
        labels = claim_words(row.explanation, row.opinion.aspect.term.lstrip("#@ "))
        if not labels or row.opinion.polarity in labels:
            return None
        return f"it says {' and '.join(sorted(labels))}; the label is {row.opinion.polarity}"


def claim_words(explanation: str, term: str) -> set[Polarity]:
    """The labels that a reason says of `term`; of anything at all where no clause names it."""
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
