"""What each answer token weighs, and the loss of a batch from that.

loss = sum over answer tokens of weight x cross-entropy. A field's weights are such that the sum is
the mean over rows of the mean over the row's tokens of that field: a long reason weighs no more
than a short one, and none drowns the label. The sums run over a whole optimiser step, so batches,
accumulation and processes change nothing.

    weigher = Weigher.of(recipe.loss, rows); weigher.weights(encoded, totals)
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from gen_msa.finetuning.encode import Encoded
from gen_msa.finetuning.recipe import Loss
from gen_msa.finetuning.rows import Row
from gen_msa.types import Polarity

FIELDS = ("label", "explanation", "aspect", "form")


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
        counts = Counter(r.polarity for r in rows if r.polarity is not None)
        if given == "none" or not counts:
            return cls(loss, dict.fromkeys(Polarity, 1.0))
        share = sum(counts.values()) / len(counts)
        return cls(loss, {p: share / counts[p] if counts[p] else 1.0 for p in Polarity})

    def row_weight(self, row: Row) -> float:
        """Weight of a row among the others: its own times that of its class."""
        return row.weight * (self.classes[row.polarity] if row.polarity else 1.0)

    def totals(self, rows: Sequence[Encoded]) -> dict[str, float]:
        """What the rows of one optimiser step weigh together, by field (`token`: their tokens)."""
        if self.loss.reduction == "token":
            return {"token": float(sum(len(r.fields) for r in rows))}
        found = dict.fromkeys(FIELDS, 0.0)
        for r in rows:
            for name in set(r.fields):
                found[name] += self.row_weight(r.row)
        return found

    def weights(self, row: Encoded, totals: dict[str, float]) -> list[float]:
        """The weight of each answer token of a row, given the totals of its step."""
        if self.loss.reduction == "token":
            return [1.0 / totals["token"]] * len(row.fields)
        counts, own = Counter(row.fields), self.row_weight(row.row)
        each = {f: self._fields[f] * own / totals[f] / n for f, n in counts.items()}
        return [each[f] for f in row.fields]


class Losses(NamedTuple):
    """The loss of a batch, to be summed over the batches of a step."""

    total: torch.Tensor
    by_field: dict[str, tuple[float, float]]
    """Field -> (weight x cross-entropy summed, weights summed): their ratio is the field's mean."""


def of_logits(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, fields: torch.Tensor
) -> Losses:
    """Losses of answer tokens.

    `logits` [n, vocabulary], `targets`, `weights` and `fields` (indices into `FIELDS`) [n].
    """
    each = functional.cross_entropy(logits.float(), targets, reduction="none") * weights
    parts: dict[str, tuple[float, float]] = {}
    for i, name in enumerate(FIELDS):
        chosen = fields == i
        if bool(chosen.any()):
            parts[name] = float(each.detach()[chosen].sum()), float(weights[chosen].sum())
    return Losses(each.sum(), parts)


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
