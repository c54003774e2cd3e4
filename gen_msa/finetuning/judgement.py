"""What judging found: figures of each dev source, with all that a figure must be printed with.

Plain numbers; knows nothing of how they came to be. `as_json` holds no word of a post; the samples
do, so they are printed and never written beside an adapter.

    judgement.score, judgement.sources[0].scores.interval
"""

from dataclasses import dataclass
from typing import Any

from gen_msa.metrics.labels import Scores
from gen_msa.types import Polarity, Status


@dataclass(frozen=True)
class ExplanationScores:
    """Figures of `n` explanations that were asked for."""

    n: int
    read: int
    """Not empty and not cut at the token limit."""
    of_aspect: int
    """Explanations about an aspect, not about the post as a whole."""
    naming_aspect: int
    """Of those, how many hold the aspect's words (casefold and NFC)."""
    with_quotes: int
    """Explanations that quote anything besides the aspect's own words."""
    quotes: int
    verbatim_quotes: int
    """Quotes that stand in the post (casefold and NFC)."""

    @property
    def read_rate(self) -> float:
        """Share of explanations read whole, 0..1."""
        return self.read / self.n

    @property
    def named_rate(self) -> float | None:
        """Share that name their aspect; None when none is about an aspect."""
        return self.naming_aspect / self.of_aspect if self.of_aspect else None

    @property
    def verbatim_rate(self) -> float | None:
        """Share of quotes that are verbatim; None without a quote."""
        return self.verbatim_quotes / self.quotes if self.quotes else None


@dataclass(frozen=True)
class SourceScores:
    """One dev source."""

    source: str
    prompt: str
    """`name@hash`."""
    data_sha256: str
    posts: int
    rejected_rows: int
    """Rows of the source that could not be read from disk; in no figure."""
    refused_posts: int
    """Posts set aside by the reader; their aspects count as wrong."""
    reasked: int
    """Answers read only after a second, constrained question."""
    scores: Scores
    joint_f1: float | None = None
    """Micro-F1 of (place, polarity) over all posts; only where aspects had to be found."""
    explanations: ExplanationScores | None = None

    @property
    def score(self) -> float:
        """What it is chosen by: macro-F1, or the joint F1 where aspects had to be found."""
        return self.scores.macro_f1 if self.joint_f1 is None else self.joint_f1


@dataclass(frozen=True)
class AnswerSample:
    """One answer beside what gold says, to be looked at."""

    source: str
    post: str
    text: str
    aspect: str
    gold: Polarity | None
    predicted: Polarity | None
    status: Status
    explanation: str
    raw: str


@dataclass(frozen=True)
class ValidationResult:
    """All dev sources at one step."""

    sources: tuple[SourceScores, ...]
    seed: int
    step: int
    revision: str
    samples: tuple[AnswerSample, ...] = ()

    @property
    def score(self) -> float:
        """Mean over the sources, each weighing the same, of what they are chosen by; 0..1."""
        return sum(s.score for s in self.sources) / len(self.sources)

    def as_json(self) -> dict[str, Any]:
        """Every figure with n, interval, seed, prompt hash and data hash; shares in 0..1."""
        sources = [_source_metrics(s) for s in self.sources]
        return {"step": self.step, "seed": self.seed, "score": self.score, "sources": sources}

    def tracker_metrics(self) -> dict[str, float]:
        """The figures a tracker draws: `dev/SOURCE/accuracy`, …"""
        out = {"dev/score": self.score}
        for s in self.sources:
            values = {k: v for k, v in _source_metrics(s).items() if k in _TRACKED_METRICS and v is not None}
            out |= {f"dev/{s.source}/{k}": float(v) for k, v in values.items()}
        return out


_TRACKED_METRICS = ("read_rate", "accuracy", "macro_f1", "joint_f1")


def _source_metrics(source: SourceScores) -> dict[str, Any]:
    scores, explanations = source.scores, source.explanations
    low, high = scores.interval
    explanation_metrics = explanations and {
        "n": explanations.n,
        "read_rate": explanations.read_rate,
        "aspect_named": explanations.named_rate,
        "aspect_named_n": explanations.of_aspect,
        "quoting": explanations.with_quotes,
        "quotes": explanations.quotes,
        "quotes_verbatim": explanations.verbatim_rate,
    }
    return {
        "source": source.source,
        "prompt": source.prompt,
        "data_sha256": source.data_sha256,
        "posts": source.posts,
        "rejected_rows": source.rejected_rows,
        "refused_posts": source.refused_posts,
        "n": scores.n,
        "read_rate": scores.read_rate,
        "reasked": source.reasked,
        "accuracy": scores.accuracy,
        "accuracy_95": [low, high],
        "macro_f1": scores.macro_f1,
        "f1": {str(p): v for p, v in scores.f1.items()},
        "confusion": {
            str(g): {str(a or "unread"): n for a, n in row.items()}
            for g, row in scores.confusion.items()
        },
        "joint_f1": source.joint_f1,
        "explanations": explanation_metrics,
    }
