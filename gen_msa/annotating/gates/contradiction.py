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

from gen_msa.annotating.gates.base import NO_REASON, Bench, Candidate, Stage, gates
from gen_msa.settings import Settings
from gen_msa.spans import QUOTED, fold
from gen_msa.types import Polarity

_LABEL = re.compile(r"\b(positive|negative|neutral)(?:ly)?\b", re.IGNORECASE)
_OF_FEELING = re.compile(
    r"\b(?:sentiments?|tone|attitude|opinions?|feelings?|emotions?|polarity|label|stance|view)\b",
    re.IGNORECASE,
)
_DENIES = re.compile(
    r"\b(?:not?|nor|neither|without|lacks?|lacking|never|none|cannot|any|absence|hardly|unclear"
    r"|could|may|might|would|whether|if|either|possibl[ey]|perhaps)\b|n't\b|n’t\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[.;!?\n]|,|:\s|\b(?:but|rather|although|though|while|whereas|however)\b")


class ContradictionOptions(Settings):
    """None: there is one way to look."""


@gates.register
class Contradiction:
    """Reads label words clause by clause."""

    Options: ClassVar[type[Settings]] = ContradictionOptions
    stage: ClassVar[Stage] = "words"

    def __init__(self, options: ContradictionOptions, bench: Bench) -> None:
        pass

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Refuses a reason that says other labels, and not the answer's."""
        return [self._verdict(row) for row in rows]

    def fingerprint(self) -> JsonValue:
        """The version of its rules."""
        return 1

    def _verdict(self, row: Candidate) -> str | None:
        if not row.reason:
            return NO_REASON
        says = said(row.reason, row.said.aspect.term.lstrip("#@ "))
        if not says or row.said.polarity in says:
            return None
        return f"it says {' and '.join(sorted(says))}; the label is {row.said.polarity}"


def said(reason: str, term: str) -> set[Polarity]:
    """The labels that a reason says of `term`; of anything at all where no clause names it."""
    found = [(c, labels) for c in _clauses(reason) if (labels := _asserted(c))]
    own = [labels for c, labels in found if term and fold(term) in fold(c)]
    return set().union(*(own or [labels for _, labels in found]))


def _clauses(reason: str) -> list[str]:
    return _CLAUSE.split(QUOTED.sub(" … ", reason))


def _asserted(clause: str) -> set[Polarity]:
    if not _OF_FEELING.search(clause):
        return set()
    return {
        Polarity(m[1].lower())
        for m in _LABEL.finditer(clause)
        if not _DENIES.search(clause, 0, m.start())
    }
