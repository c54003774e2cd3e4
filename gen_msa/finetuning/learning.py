"""What is to be learned: a row (a question and its answer), a post's rows, and all of them.

Plain facts that `rows` fills in. Knows nothing of files or tokens.

    Row("mams:train/1/soup", question, target, Polarity.POSITIVE).weight     # 1.0
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from gen_msa.prompting import Field, Target
from gen_msa.readers.prompted import Question
from gen_msa.types import Polarity

EVERY: frozenset[Field] = frozenset({"label", "explanation", "aspect", "form"})


@dataclass(frozen=True)
class Row:
    """One question and the answer to learn."""

    name: str
    """`SOURCE/POST/ASPECT`: how it is named when something is wrong with it."""
    question: Question
    target: Target
    polarity: Polarity | None
    """Its class, for class weights; None for a joint answer."""
    weight: float = 1.0
    """Among the rows of its task."""
    task: int = 0
    """0 for the source's own prompt, k for the k-th of `also`."""
    factor: float = 1.0
    """What its task weighs beside the first."""
    learn: frozenset[Field] = EVERY
    """Fields of the answer that have a loss."""
    probs: Mapping[Polarity, float] | None = None
    """A teacher's probabilities of the label, to be learned as they are."""


@dataclass(frozen=True)
class Sample:
    """The rows of one post: what a batch counts."""

    name: str
    source: int
    """Which of the recipe's sources it came from."""
    rows: tuple[Row, ...]


@dataclass
class Gathered:
    """All samples, and what was left out and why."""

    samples: list[Sample] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    """(name of the row or line, reason)."""
    without_reason: int = 0
    """Rows that ask for a reason where none is known: their label alone is learned."""
    tasks: Counter[str] = field(default_factory=Counter)
    """Rows of each further task, by its prompt."""
    bare: Counter[str] = field(default_factory=Counter)
    """Rows that a further task has not, by its prompt: no reason is known for the label."""

    def notes(self, *, softly: bool = False) -> tuple[str, ...]:
        """What became of further tasks and, with `softly`, of a teacher's probabilities."""
        told = [
            f"{name}: {self.tasks[name]:,} rows beside the first task; "
            f"{self.bare[name]:,} without a reason have the first task alone"
            for name in dict.fromkeys((*self.tasks, *self.bare))
        ]
        if softly:
            first = [r for s in self.samples for r in s.rows if not r.task]
            some = sum(r.probs is not None for r in first)
            told.append(f"loss.soft: {some:,} of {len(first):,} labels have probabilities")
        return tuple(told)
