"""Reasons that another reader of the same file wrote, as `gen-msa annotate` keeps a teacher's.

Only where that reader says the label that is learned: a reason for another label would argue
against it. Of several the first is taken. The target is the reader's name (`Opinion.by`). Knows
nothing of prompts.

    find("by:http:teacher,cue*0.3").reasoned(examples, "gold")
"""

from collections.abc import Sequence

from gen_msa.errors import UserError
from gen_msa.finetuning.rationales.base import rationale_sources
from gen_msa.types import Aspect, Example, Polarity


class AnnotatorRationales:
    """Explains labels with the words of the reader `name`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def bind(self, examples: Sequence[Example]) -> "RecordedRationales":
        """What it said of these examples."""
        rationales_by_label: list[dict[tuple[Aspect, Polarity | None], str]] = []
        for e in examples:
            opinions = [o for o in e.opinions_by(self._name) if (o.explanation or "").strip()]
            rationales_by_label.append(
                {(o.aspect, o.polarity): o.explanation or "" for o in reversed(opinions)}
            )
        return RecordedRationales(rationales_by_label)


class RecordedRationales:
    """The reasons of some examples, in their order."""

    def __init__(
        self, rationales_by_label: Sequence[dict[tuple[Aspect, Polarity | None], str]]
    ) -> None:
        self._rationales = rationales_by_label

    def rationales(self, examples: Sequence[Example]) -> list[tuple[str | None, ...]]:
        """For each example, and each of its opinions, a reason on one line, or None."""
        return [
            tuple(_one_line(rationales_by_label.get((o.aspect, o.polarity))) for o in e.opinions)
            for e, rationales_by_label in zip(examples, self._rationales, strict=True)
        ]


def _one_line(text: str | None) -> str | None:
    return None if text is None else " ".join(text.split())


@rationale_sources.register
def create_source(target: str) -> AnnotatorRationales:
    """The source. Raises `UserError` without a name."""
    if not target:
        raise UserError(
            "from_annotator: no annotator is named",
            hint="write from_annotator:NAME, as in Opinion.annotator",
        )
    return AnnotatorRationales(target)
