"""Naming: a reason must name its aspect, and speak of it before it speaks of another one.

Names are matched as the metric `naming` matches them: whole words, not within a longer name, so
that a rival's name is no credit; blanks and signs of tokenisers make no difference. An opinion on
the whole post has nothing to name. A paraphrase ("the handset") is not seen, and refused.

    gates={naming: {}}
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import JsonValue

from gen_msa.annotating.gates._pairing import paired_by_name
from gen_msa.annotating.gates.base import NO_REASON, Bench, Candidate, Stage, gates
from gen_msa.metrics import Undefined
from gen_msa.metrics.naming import Naming as Metric
from gen_msa.settings import Settings


class NamingOptions(Settings):
    """What counts as speaking of the aspect."""

    rival_first: bool = False
    """Let a reason pass that names its aspect, but another aspect of the post before it."""


@gates.register
class Naming:
    """Asks the metric about each reason."""

    Options: ClassVar[type[Settings]] = NamingOptions
    stage: ClassVar[Stage] = "words"

    def __init__(self, options: NamingOptions, bench: Bench) -> None:
        self._options = options
        self._metric = Metric()

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Refuses a reason that does not name its aspect, or a rival first."""
        return [self._verdict(row) for row in rows]

    def fingerprint(self) -> JsonValue:
        """The metric's signature."""
        return self._metric.signature

    def _verdict(self, row: Candidate) -> str | None:
        if not row.reason:
            return NO_REASON
        try:
            _, named, _, rival = self._metric.rows([paired_by_name(row)])[0]
        except Undefined:  # about the whole post
            return None
        if not named:
            return f"it does not name {row.said.aspect.term!r}"
        if rival and not self._options.rival_first:
            return f"it speaks of another aspect before {row.said.aspect.term!r}"
        return None
