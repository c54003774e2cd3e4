"""What a run has to say, as plain facts that the loop fills in and `printing` prints.

Shown(name="mams/1/soup", tokens=[…], fields=[None, "form", "label"], weights=[0, 0.2, 1])
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ParamGroupCount:
    """What is trained of one kind: attention, mlp, projector, vision, …"""

    kind: str
    tensors: int
    params: int


def count_params_by_kind(tensors: Iterable[tuple[str, int]]) -> tuple[ParamGroupCount, ...]:
    """Trained tensors, each a (kind, count of numbers), counted by kind, largest first."""
    counts_by_kind: dict[str, list[int]] = {}
    for kind, count in tensors:
        counts_by_kind.setdefault(kind, []).append(count)
    return tuple(
        sorted((ParamGroupCount(k, len(c), sum(c)) for k, c in counts_by_kind.items()), key=lambda p: -p.params)
    )


@dataclass(frozen=True)
class TokenPreview:
    """One row as the model is trained on it: three lists of the same length."""

    name: str
    tokens: Sequence[str]
    """Each token as text."""
    fields: Sequence[str | None]
    """The field each belongs to; None in the prompt, which has no loss."""
    weights: Sequence[float]


@dataclass(frozen=True)
class EpochStats:
    """What an epoch costs."""

    posts: int
    rows: int
    tokens: int
    """As the model is fed, shared prefixes once, padding not counted."""
    longest: int
    median: int
    max_length: int
    """Tokens of the longest row that is allowed."""
    image_tokens: int = 0
    padding_share: float = 0.0
    """Share of all places that is padding, 0..1."""
    saved_share: float = 0.0
    """Share of tokens saved by reading a post once for all its aspects, 0..1."""
    without_rationale: int = 0
    """Rows whose label alone is learned."""
    left_out: Sequence[tuple[str, str]] = ()
    """(row, reason) of all that cannot be used."""


@dataclass(frozen=True)
class RunHeader:
    """Everything that is said before the first step."""

    model: str
    total_params: int
    """Numbers in the whole model, adapter included; 0 when not known."""
    param_groups: Sequence[ParamGroupCount]
    preview: TokenPreview
    stats: EpochStats
    notes: Sequence[str] = ()
    """What is not as asked: a lever that cannot be used, a run that is gone on with."""


@dataclass(frozen=True)
class StepLog:
    """One logged optimiser step; figures are means since the last one."""

    step: int
    steps: int
    epoch: float
    loss: float
    fields: dict[str, float]
    """Unweighted mean cross-entropy of each field, in nats."""
    tokens_per_second: float
    learning_rate: float
    grad_norm: float | None
    extra: dict[str, float] = field(default_factory=dict)
    """Anything else to be logged and not printed, such as memory."""
