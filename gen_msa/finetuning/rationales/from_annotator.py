"""Rationales by another annotator of the same file, such as a teacher run with `gen-msa annotate`.

Only opinions with the same label are used: a rationale for another label would argue against it.
The first of several is taken. The target is the annotator's name (`Opinion.annotator`).

    find_sources("from_annotator:http:teacher,cue*0.3").explain(examples, "gold")
"""

from collections.abc import Sequence

from gen_msa.errors import UserError
from gen_msa.finetuning.rationales.base import rationale_sources
from gen_msa.types import Aspect, Example, Polarity


class AnnotatorRationales:
    """Explains labels with the explanations of one annotator.

    Args:
        name: The annotator.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def bind(self, examples: Sequence[Example]) -> "RecordedRationales":
        """Return the annotator's explanations of these examples."""
        rationales_by_label: list[dict[tuple[Aspect, Polarity | None], str]] = []
        for e in examples:
            opinions = [o for o in e.opinions_by(self._name) if (o.explanation or "").strip()]
            rationales_by_label.append(
                {(o.aspect, o.polarity): o.explanation or "" for o in reversed(opinions)}
            )
        return RecordedRationales(rationales_by_label)


class RecordedRationales:
    """The explanations of some examples, in order."""

    def __init__(
        self, rationales_by_label: Sequence[dict[tuple[Aspect, Polarity | None], str]]
    ) -> None:
        self._rationales = rationales_by_label

    def rationales(self, examples: Sequence[Example]) -> list[tuple[str | None, ...]]:
        """Return, for each example and each of its opinions, a rationale on one line, or None."""
        return [
            tuple(_one_line(rationales_by_label.get((o.aspect, o.polarity))) for o in e.opinions)
            for e, rationales_by_label in zip(examples, self._rationales, strict=True)
        ]


def _one_line(text: str | None) -> str | None:
    return None if text is None else " ".join(text.split())


@rationale_sources.register
def create_source(target: str) -> AnnotatorRationales:
    """Create the source for an annotator.

    Raises:
        UserError: If no annotator is named.
    """
    if not target:
        raise UserError(
            "from_annotator: no annotator is named",
            hint="write from_annotator:NAME, as in Opinion.annotator",
        )
    return AnnotatorRationales(target)
