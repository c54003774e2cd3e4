"""Quoting: what a reason puts in quotation marks stands in the post, word for word.

Matched as the metric `quoting` matches: whole words after NFC and casefold; a quote of nothing but
an aspect's name is no quote.

    gates={quoting: {least: 1}}        # at least one quote, all of them verbatim
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, JsonValue

from gen_msa.annotating.gates._pairing import paired
from gen_msa.annotating.gates.base import NO_REASON, Bench, Candidate, Stage, gates
from gen_msa.metrics.explained import explanation, quoted, stands, terms
from gen_msa.settings import Settings
from gen_msa.spans import Spans


class QuotingOptions(Settings):
    """How much must be quoted."""

    least: int = Field(default=0, ge=0)
    """Quotes a reason must have."""


@gates.register
class Quoting:
    """Looks every quote up in the post."""

    Options: ClassVar[type[Settings]] = QuotingOptions
    stage: ClassVar[Stage] = "words"

    def __init__(self, options: QuotingOptions, bench: Bench) -> None:
        self._least = options.least

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Refuses a reason with an invented quote, or with too few."""
        return [self._verdict(row) for row in rows]

    def fingerprint(self) -> JsonValue:
        """Nothing besides the options."""
        return None

    def _verdict(self, row: Candidate) -> str | None:
        if not row.reason:
            return NO_REASON
        pair = paired(row)
        own, rivals = terms(pair)
        found = quoted(explanation(pair), {own, *rivals})
        post = Spans(row.post.text)
        invented = [q for q in found if not stands(q, post)]
        if invented:
            return f"{invented[0][:80]!r} does not stand in the post"
        if len(found) < self._least:
            return f"{len(found)} quotes, at least {self._least}"
        return None
