"""One reader's rows of an evaluation, ready for any log: input, target, answer, verdict.

Knows nothing of formats. Checks that what it is given belongs together: rows and accuracy must be
those of the results.

    log = log_of(result, "builtin", examples, datetime.now(UTC))
    log.samples[0].verdict         # "C", "I", or "N" where the answer could not be read
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isclose
from typing import Literal

from gen_msa.errors import UserError
from gen_msa.metrics import Pair, pair_up
from gen_msa.results import ReaderResult, Result
from gen_msa.types import Example, Opinion, Polarity, Post, Status

Verdict = Literal["C", "I", "N"]
RIGHT: Verdict = "C"
WRONG: Verdict = "I"
UNREAD: Verdict = "N"


@dataclass(frozen=True)
class Sample:
    """One aspect of one post."""

    id: str
    """Unique in the log: post, number of the aspect within it, aspect."""
    post: Post
    aspect: str
    start: int | None
    target: Polarity
    answer: Polarity | None
    raw: str
    """The reader's own words; where it kept none, what they would have come to."""
    status: str
    """`types.Status`, or `silent`: it was never said."""
    probs: dict[str, float]
    explanation: str
    how: dict[str, str]

    @property
    def verdict(self) -> Verdict:
        """Right, wrong, or no answer; the last counts as wrong in every figure."""
        if self.answer is None:
            return UNREAD
        return RIGHT if self.answer is self.target else WRONG


@dataclass(frozen=True)
class Log:
    """One reader's samples with the figures they make."""

    result: Result
    reader: ReaderResult
    samples: tuple[Sample, ...]
    left_out: int
    """Rows without a gold polarity, and opinions about aspects that gold has not."""
    moment: datetime

    @property
    def task(self) -> str:
        """The data as a name for files: `gen_msa-twitter2015-dev`."""
        return "gen_msa-" + slug(self.result.data)

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """`family.figure` -> value, n, and low and high where there is an interval."""
        found = {}
        for family, figures in self.reader.figures.items():
            for name, v in figures.items():
                if v.value is None:
                    continue
                parts = {"value": v.value, "low": v.low, "high": v.high, "n": float(v.n)}
                known = {k: x for k, x in parts.items() if x is not None}
                found[f"{family}.{name}"] = known
        return found


def log_of(result: Result, name: str, examples: Iterable[Example], moment: datetime) -> Log:
    """The log of the reader called `name`.

    Raises `UserError` when rows or accuracy are not those of `result`.
    """
    reader = next(r for r in result.readers if r.name == name)
    samples: list[Sample] = []
    left_out = 0
    for example in examples:
        pairs = pair_up(example, name, result.against)
        for number, pair in enumerate(pairs):
            if pair.gold is None or pair.truth is None:
                left_out += 1
            else:
                samples.append(_sample(pair, pair.gold, pair.truth, number))
    log = Log(result, reader, tuple(samples), left_out, moment)
    _belong_together(log)
    return log


def slug(name: str) -> str:
    """A name fit for a file: letters, digits, `-` and `.`; `_` parts fields in log names."""
    return re.sub(r"[^\w.-]+|_", "-", name).strip("-.") or "unnamed"


def _sample(pair: Pair, gold: Opinion, target: Polarity, number: int) -> Sample:
    said = pair.said
    status = str(said.status) if said else "silent"
    if said and said.polarity is None and said.status is Status.OK:
        status = str(Status.EMPTY)
    return Sample(
        id=f"{pair.post.id}#{number}#{gold.aspect.term}",
        post=pair.post,
        aspect=gold.aspect.term,
        start=gold.aspect.start,
        target=target,
        answer=pair.answer,
        raw=((said.raw if said else None) or str(pair.answer or "")),
        status=status,
        probs={str(p): v for p, v in ((said.probs if said else None) or {}).items()},
        explanation=pair.explanation,
        how=dict(said.how) if said else {},
    )


def _belong_together(log: Log) -> None:
    figure = log.reader.figures.get("labels", {}).get("accuracy")
    if figure is None or figure.value is None:
        return
    n, right = len(log.samples), _right(log.samples)
    if n != figure.n or not isclose(right / max(n, 1), figure.value, abs_tol=1e-9):
        raise UserError(
            f"{log.reader.name}: the samples have {right:,} of {n:,} right, the results say "
            f"{figure.value:.4f} of {figure.n:,}",
            mend="take results.json and samples.jsonl of one run",
        )


def _right(samples: Sequence[Sample]) -> int:
    return sum(s.verdict == RIGHT for s in samples)
