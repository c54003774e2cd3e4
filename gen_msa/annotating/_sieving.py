"""What of a gated job's answers is kept, what is not, and the counts of both.

The last gates, which look at the whole file, are checked here, in the order of the file. Knows
nothing of readers; answers from the ledger and fresh ones look the same.

    kept, failed = sieve(example, reading.opinions)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gen_msa.annotating import _marks as marks
from gen_msa.annotating.gates import Candidate, Gate
from gen_msa.metrics import pair_up
from gen_msa.types import Example, Opinion, Polarity, Rejected, Status

Cells = Counter[tuple[Polarity, Polarity]]
"""(gold, said) -> rows in which both have a label."""


class Failed(Rejected):
    """A line of the rejected file: an answer that a gate refused, whole."""

    post: str
    opinion: Opinion
    excluded: bool
    """Nothing that was said to the same question was accepted."""


class Sieved(NamedTuple):
    """The answers about one post."""

    kept: tuple[Opinion, ...]
    failed: tuple[Opinion, ...]
    excluded: frozenset[object]
    """Aspects without any answer that was kept."""


@dataclass
class Tally:
    """The counts of a gated job; they add up over posts, whenever these were asked."""

    questions: int = 0
    accepted: int = 0
    excluded: int = 0
    unanswered: int = 0
    """Questions that could not be asked; the next run asks them again."""
    answers: int = 0
    """All of them, further tries included."""
    shown: Counter[str] = field(default_factory=Counter)
    """Gate -> answers it looked at."""
    refused: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    """Questions whose accepted answer was not the first."""
    counted: int = 0
    """Answers whose tokens are known."""
    read: int = 0
    """Tokens of prompts."""
    written: int = 0
    """Tokens of answers."""
    first: Cells = field(default_factory=Counter)
    """Gold against first answers, kept or not."""
    kept: Cells = field(default_factory=Counter)
    """Gold against accepted answers."""

    def add(self, example: Example, sieved: Sieved, by: str) -> None:
        """Count the answers about one post."""
        every = (*sieved.kept, *sieved.failed)
        broken = {o.aspect for o in every if o.status is Status.ERROR} & sieved.excluded
        self.questions += len({o.aspect for o in every})
        self.accepted += len(sieved.kept)
        self.unanswered += len(broken)
        self.excluded += len(sieved.excluded) - len(broken)
        self.answers += len(every)
        self.retried += sum(marks.attempt(o) > 1 for o in sieved.kept)
        for o in every:
            self._gates(o)
            if found := marks.tokens(o):
                self.counted, self.read = self.counted + 1, self.read + found[0]
                self.written += found[1]
        firsts = [o for o in every if marks.attempt(o) == 1]
        self.first += _cells(example, firsts, by)
        self.kept += _cells(example, sieved.kept, by)

    def _gates(self, opinion: Opinion) -> None:
        why = marks.failures(opinion)
        self.shown.update({marks.ANSWER, *why, *marks.passes(opinion)})
        self.refused.update(list(why))


class Sieve:
    """Parts the answers of one job, and counts them."""

    def __init__(self, late: Mapping[str, Gate], by: str) -> None:
        """`late`: gates of the stage `file`; `by`: whose opinions these are."""
        self.tally = Tally()
        self._late = late
        self._by = by

    def __call__(self, example: Example, opinions: Sequence[Opinion]) -> Sieved:
        """Part the answers about one post; every one of them comes out once."""
        judged = [self._judged(example, o) for o in opinions]
        asked = list(dict.fromkeys(o.aspect for o in opinions))
        passed = (o for o in judged if not marks.failures(o))
        kept = tuple(sorted(passed, key=lambda o: asked.index(o.aspect)))
        failed = tuple(o for o in judged if marks.failures(o))
        lost = frozenset(o.aspect for o in failed) - {o.aspect for o in kept}
        sieved = Sieved(kept, failed, lost)
        self.tally.add(example, sieved, self._by)
        return sieved

    def _judged(self, example: Example, opinion: Opinion) -> Opinion:
        if marks.failures(opinion) or not self._late:
            return opinion
        row = [Candidate(example.post, opinion)]
        verdicts: dict[str, str | None] = {}
        for name, gate in self._late.items():
            (verdicts[name],) = gate.check(row)
        return marks.refused_later(opinion, verdicts)


def failed_row(source: str, line: int, example: Example, said: Opinion, lost: bool) -> Failed:
    """The line that tells of one refused answer."""
    why = "; ".join(f"{name}: {w}" for name, w in marks.failures(said).items())
    return Failed(
        file=source,
        line=line,
        reason=why,
        raw=(said.raw or said.explanation or "")[:500],
        post=example.post.id,
        opinion=said,
        excluded=lost,
    )


def _cells(example: Example, said: Sequence[Opinion], by: str) -> Cells:
    gold = example.said_by("gold")
    pairs = pair_up(Example(post=example.post, opinions=(*gold, *said)), by) if gold else []
    return Counter((p.truth, p.answer) for p in pairs if p.truth and p.answer)
