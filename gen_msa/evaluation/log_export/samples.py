"""The rows of one system for a log of any format: input, target, answer, verdict.

Samples and results are checked against each other: rows and accuracy must agree.

    log = build_log(result, "builtin", examples, datetime.now(UTC))
    log.samples[0].verdict         # "C", "I", or "N" for an unparsed answer
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isclose
from typing import Literal

from gen_msa.errors import UserError
from gen_msa.metrics import Pair, pair_up
from gen_msa.results import EvaluationResult, SystemResult
from gen_msa.types import Example, Opinion, Polarity, Post, Status

Verdict = Literal["C", "I", "N"]
CORRECT: Verdict = "C"
INCORRECT: Verdict = "I"
NO_ANSWER: Verdict = "N"


@dataclass(frozen=True)
class LoggedSample:
    """One aspect of one post."""

    id: str
    """Unique in the log: post, number of the aspect within it, aspect."""
    post: Post
    aspect: str
    start: int | None
    target: Polarity
    answer: Polarity | None
    raw: str
    """The answer of the system in full; where it was not kept, the predicted polarity."""
    status: str
    """`types.Status`, or `missing`: there is no prediction."""
    probs: dict[str, float]
    explanation: str
    provenance: dict[str, str]

    @property
    def verdict(self) -> Verdict:
        """Correct, incorrect, or no answer; the last counts as wrong in every metric."""
        if self.answer is None:
            return NO_ANSWER
        return CORRECT if self.answer is self.target else INCORRECT


@dataclass(frozen=True)
class SystemLog:
    """The samples of one system with its metrics."""

    result: EvaluationResult
    system: SystemResult
    samples: tuple[LoggedSample, ...]
    n_excluded: int
    """Rows without a gold polarity, and predictions about aspects that gold does not have."""
    timestamp: datetime

    @property
    def task(self) -> str:
        """The data as a name for files: `gen_msa-twitter2015-dev`."""
        return "gen_msa-" + slug(self.result.data)

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """`family.metric` -> value, n, and low and high where there is an interval."""
        metrics = {}
        for family, family_metrics in self.system.metrics.items():
            for name, v in family_metrics.items():
                if v.value is None:
                    continue
                parts = {"value": v.value, "low": v.low, "high": v.high, "n": float(v.n)}
                defined = {k: x for k, x in parts.items() if x is not None}
                metrics[f"{family}.{name}"] = defined
        return metrics


def build_log(
    result: EvaluationResult, name: str, examples: Iterable[Example], timestamp: datetime
) -> SystemLog:
    """Build the log of one system.

    Args:
        result: The evaluation.
        name: Name of the system in it.
        examples: The posts with opinions that were evaluated.
        timestamp: Time of the log.

    Returns:
        The samples with the metrics of the system.

    Raises:
        UserError: Rows or accuracy differ from those of `result`.
    """
    system = next(r for r in result.systems if r.name == name)
    samples: list[LoggedSample] = []
    n_excluded = 0
    for example in examples:
        pairs = pair_up(example, name, result.reference)
        for number, pair in enumerate(pairs):
            if pair.gold is None or pair.label is None:
                n_excluded += 1
            else:
                samples.append(_sample(pair, pair.gold, pair.label, number))
    log = SystemLog(result, system, tuple(samples), n_excluded, timestamp)
    _check_consistency(log)
    return log


def slug(name: str) -> str:
    """Return a name that is safe in file names: letters, digits, `-` and `.`.

    `_` is replaced too, because it separates the fields of log names.
    """
    return re.sub(r"[^\w.-]+|_", "-", name).strip("-.") or "unnamed"


def _sample(pair: Pair, gold: Opinion, target: Polarity, number: int) -> LoggedSample:
    prediction = pair.prediction
    status = str(prediction.status) if prediction else "missing"
    if prediction and prediction.polarity is None and prediction.status is Status.OK:
        status = str(Status.EMPTY)
    return LoggedSample(
        id=f"{pair.post.id}#{number}#{gold.aspect.term}",
        post=pair.post,
        aspect=gold.aspect.term,
        start=gold.aspect.start,
        target=target,
        answer=pair.predicted_label,
        raw=((prediction.raw if prediction else None) or str(pair.predicted_label or "")),
        status=status,
        probs={str(p): v for p, v in ((prediction.probs if prediction else None) or {}).items()},
        explanation=pair.explanation,
        provenance=dict(prediction.provenance) if prediction else {},
    )


def _check_consistency(log: SystemLog) -> None:
    accuracy = log.system.metrics.get("labels", {}).get("accuracy")
    if accuracy is None or accuracy.value is None:
        return
    n, n_correct = len(log.samples), _n_correct(log.samples)
    if n != accuracy.n or not isclose(n_correct / max(n, 1), accuracy.value, abs_tol=1e-9):
        raise UserError(
            f"{log.system.name}: {n_correct:,} of {n:,} samples are correct, but the results have "
            f"an accuracy of {accuracy.value:.4f} over {accuracy.n:,} rows",
            hint="use results.json and samples.jsonl of one run",
        )


def _n_correct(samples: Sequence[LoggedSample]) -> int:
    return sum(s.verdict == CORRECT for s in samples)
