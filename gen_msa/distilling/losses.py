"""The losses of a student: labels, teachers' probabilities, teachers' features.

Each is a mean over rows, by their weight; a row that lacks what a loss needs is not in its mean.
Where several processes share a batch, `over` adds up what all their rows count, and the sum of
their losses is that mean. Hinton et al. 2015 for the soft one. Knows nothing of students or steps.

    hard(logits, batch.target, batch.weight)       # a scalar, nats
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from gen_msa.errors import UserError

Over = Callable[[Tensor], Tensor]
"""Sum of a scalar over all processes that share a batch."""


def alone(counted: Tensor) -> Tensor:
    """`over` of one process: its own rows are all there are."""
    return counted


def hard(
    logits: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    by_class: Tensor | None = None,
    smoothing: float = 0.0,
    over: Over = alone,
) -> Tensor:
    """Cross-entropy of (rows, classes) with (rows,) labels, in nats; -1 is no label.

    `by_class` weighs a row by its label; `smoothing` is the share given to all classes alike.
    """
    each = functional.cross_entropy(
        logits,
        target,
        weight=by_class,
        ignore_index=-1,
        label_smoothing=smoothing,
        reduction="none",
    )
    share = weight * (target >= 0)
    if by_class is not None:
        share = share * by_class[target.clamp(min=0)]
        return (each * weight).sum() / over(share.sum()).clamp(min=_LEAST)
    return (each * share).sum() / over(share.sum()).clamp(min=_LEAST)


_LEAST = 1e-12
"""Under a sum of weights: a batch in which nobody counts has loss 0."""


def soft(
    logits: Tensor,
    shares: Tensor,
    weight: Tensor,
    *,
    temperature: float = 1.0,
    over: Over = alone,
) -> Tensor:
    """Divergence KL(teacher || student) at a temperature, times its square; >= 0, nats.

    `shares`: (rows, classes) of probabilities, a row of zeros where no teacher spoke.
    """
    spoke = weight * (shares.sum(1) > 0)
    # p^(1/T), normalised, is the softmax of the teacher's logits divided by T.
    cooled = shares.clamp(min=1e-8).pow(1 / temperature)
    cooled = cooled / cooled.sum(1, keepdim=True)
    said = functional.log_softmax(logits / temperature, dim=1)
    each = (cooled * (cooled.log() - said)).sum(1)
    return temperature**2 * (each * spoke).sum() / over(spoke.sum()).clamp(min=_LEAST)


def features(
    own: Mapping[str, Tensor], taught: Mapping[str, Tensor], weights: Mapping[str, float]
) -> Tensor:
    """The weighted sum, by name, of mean absolute differences between features of equal shape.

    A mean over all numbers, whatever the rows weigh. Raises `UserError` for a feature that one of
    the two has not, or of another shape.
    """
    total = torch.zeros(())
    for name, weight in weights.items():
        for who, has in (("the student", own), ("the teacher", taught)):
            if name not in has:
                known = ", ".join(has) or "none"
                raise UserError(f"losses.features: {who} has no {name}; it has {known}")
        if own[name].shape != taught[name].shape:
            shapes = " and ".join(str(tuple(t.shape)) for t in (own[name], taught[name]))
            raise UserError(f"losses.features: {name} is {shapes} in student and teacher")
        total = total + weight * (own[name] - taught[name]).abs().mean()
    return total
