"""Reasons that another reader of the same file wrote, as `gen-msa annotate` keeps a teacher's.

Only where that reader says the label that is learned: a reason for another label would argue
against it. Of several the first is taken. The target is the reader's name (`Opinion.by`). Knows
nothing of prompts.

    find("by:http:teacher,cue*0.3").reasoned(examples, "gold")
"""

from collections.abc import Sequence

from gen_msa.errors import UserError
from gen_msa.finetuning.reasons.base import reasons
from gen_msa.types import Aspect, Example, Polarity


class By:
    """Explains labels with the words of the reader `name`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def hearing(self, examples: Sequence[Example]) -> "Told":
        """What it said of these examples."""
        known: list[dict[tuple[Aspect, Polarity | None], str]] = []
        for e in examples:
            said = [o for o in e.said_by(self._name) if (o.explanation or "").strip()]
            known.append({(o.aspect, o.polarity): o.explanation or "" for o in reversed(said)})
        return Told(known)


class Told:
    """The reasons of some examples, in their order."""

    def __init__(self, known: Sequence[dict[tuple[Aspect, Polarity | None], str]]) -> None:
        self._known = known

    def reasons(self, examples: Sequence[Example]) -> list[tuple[str | None, ...]]:
        """For each example, and each of its opinions, a reason on one line, or None."""
        return [
            tuple(_one_line(known.get((o.aspect, o.polarity))) for o in e.opinions)
            for e, known in zip(examples, self._known, strict=True)
        ]


def _one_line(text: str | None) -> str | None:
    return None if text is None else " ".join(text.split())


@reasons.register
def make(target: str) -> By:
    """The source. Raises `UserError` without a name."""
    if not target:
        raise UserError("reasons by whom? write by:NAME, as in Opinion.by")
    return By(target)
