"""What is to be learned: a row (a question and its answer), a post's rows, and all of them.

Plain facts that `rows` fills in. Knows nothing of files or tokens.

    Row("mams:train/1/soup", question, target, Polarity.POSITIVE).weight     # 1.0
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from gen_msa.prompting import TargetField, TrainingTarget
from gen_msa.readers.prompted import PromptRequest
from gen_msa.types import Polarity

ALL_FIELDS: frozenset[TargetField] = frozenset({"label", "explanation", "aspect", "form"})


@dataclass(frozen=True)
class TrainingExample:
    """One question and the answer to learn."""

    name: str
    """`SOURCE/POST/ASPECT`: how it is named when something is wrong with it."""
    question: PromptRequest
    target: TrainingTarget
    polarity: Polarity | None
    """Its class, for class weights; None for a joint answer."""
    weight: float = 1.0
    """Among the rows of its task."""
    task: int = 0
    """0 for the source's own prompt, k for the k-th of `also`."""
    task_weight: float = 1.0
    """What its task weighs beside the first."""
    learn: frozenset[TargetField] = ALL_FIELDS
    """Fields of the answer that have a loss."""
    probs: Mapping[Polarity, float] | None = None
    """A teacher's probabilities of the label, to be learned as they are."""


@dataclass(frozen=True)
class PostExamples:
    """The rows of one post: what a batch counts."""

    name: str
    source: int
    """Which of the recipe's sources it came from."""
    rows: tuple[TrainingExample, ...]


@dataclass
class TrainingSet:
    """All samples, and what was left out and why."""

    samples: list[PostExamples] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(name of the row or line, reason)."""
    without_rationale: int = 0
    """Rows that ask for a reason where none is known: their label alone is learned."""
    rows_per_task: Counter[str] = field(default_factory=Counter)
    """Rows of each further task, by its prompt."""
    missing_rationales: Counter[str] = field(default_factory=Counter)
    """Rows that a further task has not, by its prompt: no reason is known for the label."""

    def notes(self, *, soft_labels: bool = False) -> tuple[str, ...]:
        """What became of further tasks and, with `softly`, of a teacher's probabilities."""
        notes = [
            f"{name}: {self.rows_per_task[name]:,} rows beside the first task; "
            f"{self.missing_rationales[name]:,} without a reason have the first task alone"
            for name in dict.fromkeys((*self.rows_per_task, *self.missing_rationales))
        ]
        if soft_labels:
            main_rows = [r for s in self.samples for r in s.rows if not r.task]
            with_probs = sum(r.probs is not None for r in main_rows)
            notes.append(f"loss.soft: {with_probs:,} of {len(main_rows):,} labels have probabilities")
        return tuple(notes)
