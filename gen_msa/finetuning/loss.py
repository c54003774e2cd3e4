"""What each answer token weighs, and the loss of a batch from that.

loss = sum over answer tokens of weight x cross-entropy. A field's weights are such that the sum is
the mean over rows of the mean over the row's tokens of that field: a long reason weighs no more
than a short one, and none drowns the label. Each task has means of its own, times its lambda. The
sums run over a whole optimiser step, so batches, accumulation and processes change nothing.

    weigher = Weigher.of(recipe.loss, rows); weigher.weights(encoded, totals)
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from gen_msa.finetuning.encode import Encoded
from gen_msa.finetuning.recipe import Loss
from gen_msa.finetuning.rows import Row
from gen_msa.types import Polarity

FIELDS = ("label", "explanation", "aspect", "form")
Totals = Mapping[tuple[int, str], float]
"""(Task, field) -> weights of the rows of a step together."""


class Weigher:
    """Weights of tokens under one recipe."""

    def __init__(self, loss: Loss, classes: dict[Polarity, float]) -> None:
        self.loss = loss
        self.classes = classes
        self._fields = {name: float(getattr(loss, name)) for name in FIELDS}

    @classmethod
    def of(cls, loss: Loss, rows: Iterable[Row]) -> "Weigher":
        """The weigher of a run; balanced class weights are counted over `rows`."""
        given = loss.class_weights
        if isinstance(given, dict):
            return cls(loss, {p: given.get(p, 1.0) for p in Polarity})
        counts = Counter(r.polarity for r in rows if r.polarity and not r.task)
        if given == "none" or not counts:
            return cls(loss, dict.fromkeys(Polarity, 1.0))
        share = sum(counts.values()) / len(counts)
        return cls(loss, {p: share / counts[p] if counts[p] else 1.0 for p in Polarity})

    def row_weight(self, row: Row) -> float:
        """Weight of a row among the others: its own times that of its class."""
        return row.weight * (self.classes[row.polarity] if row.polarity else 1.0)

    def totals(self, rows: Sequence[Encoded]) -> dict[tuple[int, str], float]:
        """What the rows of one optimiser step weigh together, by task and field.

        With `reduction: token` a task has one entry, `token`: its tokens.
        """
        found: dict[tuple[int, str], float] = defaultdict(float)
        for r in rows:
            names = [f for f in r.fields if f in r.row.learn]
            if self.loss.reduction == "token":
                found[r.row.task, "token"] += len(names)
                continue
            for name in (*set(names), *["soft"] * bool(r.soft)):
                found[r.row.task, name] += self.row_weight(r.row)
        return dict(found)

    def weights(self, row: Encoded, totals: Totals) -> list[float]:
        """The weight of each answer token of a row, given the totals of its step."""
        task, learn, factor = row.row.task, row.row.learn, row.row.factor
        if self.loss.reduction == "token":
            one = factor / max(totals[task, "token"], 1.0)
            return [one if f in learn else 0.0 for f in row.fields]
        own = factor * self.row_weight(row.row)
        each = {
            f: self._fields[f] * own / totals[task, f] / n if f in learn else 0.0
            for f, n in Counter(row.fields).items()
        }
        return [each[f] for f in row.fields]

    def soft_weight(self, row: Encoded, totals: Totals) -> float:
        """The weight of each place of a row where a teacher's probabilities are learned."""
        if not row.soft:
            return 0.0
        own = self.row_weight(row.row) / totals[row.row.task, "soft"]
        return self.loss.soft * own / len(row.soft)


class Losses(NamedTuple):
    """The loss of a batch, to be summed over the batches of a step."""

    total: torch.Tensor
    by_field: dict[str, tuple[float, float]]
    """Field -> (weight x cross-entropy summed, weights summed): their ratio is the field's mean."""


def of_logits(
    logits: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    fields: torch.Tensor,
    soft: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> Losses:
    """Losses of answer tokens.

    `logits` [n, vocabulary], `targets`, `weights` and `fields` (indices into `FIELDS`) [n]; `soft`
    are tokens and weights [n, k]: cross-entropy to a distribution, told as field `soft`.
    """
    each = functional.cross_entropy(logits.float(), targets, reduction="none") * weights
    parts: dict[str, tuple[float, float]] = {}
    for i, name in enumerate(FIELDS):
        chosen = fields == i
        if bool(chosen.any()):
            parts[name] = float(each.detach()[chosen].sum()), float(weights[chosen].sum())
    total = each.sum()
    if soft is not None and bool(soft[1].any()):
        at = soft[1].any(dim=1)
        ids, mass = soft[0][at], soft[1][at]
        thought = -(mass * logits[at].float().log_softmax(-1).gather(1, ids)).sum()
        parts["soft"] = float(thought.detach()), float(mass.sum())
        total = total + thought
    return Losses(total, parts)


class LabelledHead:
    """Lets the language head see only some places: a switch on the model's output embedding.

    With it off, the same places are taken from the whole logits, so the loss is the same.
    """

    def __init__(self, model: Any, *, on: bool) -> None:
        self.on = on
        self._places: tuple[torch.Tensor, torch.Tensor] | None = None
        if on:
            model.get_output_embeddings().register_forward_pre_hook(self._choose)

    def at(self, lines: torch.Tensor, places: torch.Tensor) -> None:
        """The places of the coming batch: token `places[i]` of line `lines[i]`."""
        self._places = lines, places

    def taken(self, logits: torch.Tensor) -> torch.Tensor:
        """The logits of those places: [n, vocabulary]."""
        if self._places is None:
            raise RuntimeError("LabelledHead.at was not called for this batch")
        found = logits[0] if self.on else logits[self._places]
        self._places = None
        return found

    def _choose(self, module: Any, args: tuple[torch.Tensor, ...]) -> Any:
        if self._places is None:  # generating, or judging
            return None
        return (args[0][self._places][None], *args[1:])
