"""Weights of answer tokens, and the loss of a batch.

loss = sum over answer tokens of weight x cross-entropy. The weights of a field make the sum the
mean over rows of the mean over the row's tokens of that field: a long explanation weighs no more
than a short one, and none outweighs the label. Each task has its own means, times its lambda. The
sums run over a whole optimiser step, so that batches, accumulation and processes change nothing.

    loss_weights = LossWeights.from_rows(recipe.loss, rows)
    loss_weights.token_weights(row, loss_weights.step_totals(step_rows))
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from gen_msa.finetuning.dataset import TrainingExample
from gen_msa.finetuning.recipe import LossConfig
from gen_msa.finetuning.tokenization import TokenizedExample
from gen_msa.types import Polarity

FIELDS = ("label", "explanation", "aspect", "form")
StepTotals = Mapping[tuple[int, str], float]
"""(Task, field) -> total weight of the rows of a step."""


class LossWeights:
    """Token weights under one recipe.

    Args:
        loss: The loss settings.
        classes: Weight of each gold class.
    """

    def __init__(self, loss: LossConfig, classes: dict[Polarity, float]) -> None:
        self.loss = loss
        self.classes = classes
        self._fields = {name: float(getattr(loss, name)) for name in FIELDS}

    @classmethod
    def from_rows(cls, loss: LossConfig, rows: Iterable[TrainingExample]) -> "LossWeights":
        """Build the weights of a run; balanced class weights are counted over `rows`.

        Args:
            loss: The loss settings.
            rows: All training rows.

        Returns:
            A weight for each polarity; 1 where none is set, or none can be counted.
        """
        class_weights = loss.class_weights
        if isinstance(class_weights, dict):
            return cls(loss, {p: class_weights.get(p, 1.0) for p in Polarity})
        counts = Counter(r.polarity for r in rows if r.polarity and not r.task)
        if class_weights == "none" or not counts:
            return cls(loss, dict.fromkeys(Polarity, 1.0))
        mean_count = sum(counts.values()) / len(counts)
        return cls(loss, {p: mean_count / counts[p] if counts[p] else 1.0 for p in Polarity})

    def row_weight(self, row: TrainingExample) -> float:
        """Return the weight of a row: its own times that of its class."""
        return row.weight * (self.classes[row.polarity] if row.polarity else 1.0)

    def step_totals(self, rows: Sequence[TokenizedExample]) -> dict[tuple[int, str], float]:
        """Return the total weight of the rows of an optimiser step, by task and field.

        With `reduction: token` a task has one entry, `token`: its number of tokens.
        """
        sums: dict[tuple[int, str], float] = defaultdict(float)
        for r in rows:
            names = [f for f in r.fields if f in r.example.learn]
            if self.loss.reduction == "token":
                sums[r.example.task, "token"] += len(names)
                continue
            for name in (*set(names), *["soft"] * bool(r.soft_targets)):
                sums[r.example.task, name] += self.row_weight(r.example)
        return dict(sums)

    def token_weights(self, row: TokenizedExample, totals: StepTotals) -> list[float]:
        """Return the weight of each answer token of a row.

        Args:
            row: The row.
            totals: The totals of its optimiser step.
        """
        task, learn, task_weight = row.example.task, row.example.learn, row.example.task_weight
        if self.loss.reduction == "token":
            token_weight = task_weight / max(totals[task, "token"], 1.0)
            return [token_weight if f in learn else 0.0 for f in row.fields]
        row_weight = task_weight * self.row_weight(row.example)
        field_weights = {
            f: self._fields[f] * row_weight / totals[task, f] / n if f in learn else 0.0
            for f, n in Counter(row.fields).items()
        }
        return [field_weights[f] for f in row.fields]

    def soft_weight(self, row: TokenizedExample, totals: StepTotals) -> float:
        """Return the weight of each position of a row that learns a teacher's probabilities.

        Args:
            row: The row.
            totals: The totals of its optimiser step.
        """
        if not row.soft_targets:
            return 0.0
        row_weight = self.row_weight(row.example) / totals[row.example.task, "soft"]
        return self.loss.soft * row_weight / len(row.soft_targets)


class BatchLoss(NamedTuple):
    """The loss of a batch, to be summed over the batches of a step."""

    total: torch.Tensor
    by_field: dict[str, tuple[float, float]]
    """Field -> (sum of weight x cross-entropy, sum of weights): their ratio is the mean."""


def loss_from_logits(
    logits: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    fields: torch.Tensor,
    soft: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> BatchLoss:
    """Compute the losses of `n` answer tokens.

    Args:
        logits: Shape (n, vocabulary).
        targets: Shape (n,): token ids.
        weights: Shape (n,).
        fields: Shape (n,): indices into `FIELDS`.
        soft: Tokens and weights of a teacher's distribution, each of shape (n, k); its
            cross-entropy is reported as field `soft`.

    Returns:
        The sum of weighted cross-entropies in nats, a scalar with gradient, and its parts by field.
    """
    token_losses = functional.cross_entropy(logits.float(), targets, reduction="none") * weights
    parts: dict[str, tuple[float, float]] = {}
    for i, name in enumerate(FIELDS):
        in_field = fields == i
        if bool(in_field.any()):
            parts[name] = (
                float(token_losses.detach()[in_field].sum()),
                float(weights[in_field].sum()),
            )
    total = token_losses.sum()
    if soft is not None and bool(soft[1].any()):
        has_soft = soft[1].any(dim=1)
        ids, mass = soft[0][has_soft], soft[1][has_soft]
        soft_loss = -(mass * logits[has_soft].float().log_softmax(-1).gather(1, ids)).sum()
        parts["soft"] = float(soft_loss.detach()), float(mass.sum())
        total = total + soft_loss
    return BatchLoss(total, parts)


class AnswerOnlyLMHead:
    """Makes the language head compute logits at answer tokens only.

    If disabled, the same positions are taken from the full logits, so that the loss is the same.

    Args:
        model: The model, whose output embedding gets a hook.
        enabled: Whether to restrict the head.
    """

    def __init__(self, model: Any, *, enabled: bool) -> None:
        self.enabled = enabled
        self._positions: tuple[torch.Tensor, torch.Tensor] | None = None
        if enabled:
            model.get_output_embeddings().register_forward_pre_hook(self._select_positions)

    def select(self, sequences: torch.Tensor, positions: torch.Tensor) -> None:
        """Set the positions for the next forward pass.

        Args:
            sequences: Shape (n,): index of the sequence.
            positions: Shape (n,): position in that sequence.
        """
        self._positions = sequences, positions

    def answer_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the logits at the selected positions, of shape (n, vocabulary).

        Args:
            logits: The model's logits, of shape (1, n, vocabulary) if enabled, else
                (sequences, width, vocabulary).

        Raises:
            RuntimeError: If `select` was not called for this batch.
        """
        if self._positions is None:
            raise RuntimeError("AnswerOnlyLMHead.select was not called for this batch")
        selected = logits[0] if self.enabled else logits[self._positions]
        self._positions = None
        return selected

    def _select_positions(self, module: Any, args: tuple[torch.Tensor, ...]) -> Any:
        if self._positions is None:  # generation, or validation
            return None
        return (args[0][self._positions][None], *args[1:])
