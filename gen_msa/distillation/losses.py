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

SumFn = Callable[[Tensor], Tensor]
"""Sum of a scalar over all processes that share a batch."""


def sum_local(value: Tensor) -> Tensor:
    """`over` of one process: its own rows are all there are."""
    return value


def label_cross_entropy(
    logits: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    by_class: Tensor | None = None,
    smoothing: float = 0.0,
    reduce_sum: SumFn = sum_local,
) -> Tensor:
    """Cross-entropy of (rows, classes) with (rows,) labels, in nats; -1 is no label.

    `by_class` weighs a row by its label; `smoothing` is the share given to all classes alike.
    """
    row_losses = functional.cross_entropy(
        logits,
        target,
        weight=by_class,
        ignore_index=-1,
        label_smoothing=smoothing,
        reduction="none",
    )
    row_weights = weight * (target >= 0)
    if by_class is not None:
        row_weights = row_weights * by_class[target.clamp(min=0)]
        return (row_losses * weight).sum() / reduce_sum(row_weights.sum()).clamp(min=_EPSILON)
    return (row_losses * row_weights).sum() / reduce_sum(row_weights.sum()).clamp(min=_EPSILON)


_EPSILON = 1e-12
"""Under a sum of weights: a batch in which nobody counts has loss 0."""


def distillation_kl(
    logits: Tensor,
    teacher_probs: Tensor,
    weight: Tensor,
    *,
    temperature: float = 1.0,
    reduce_sum: SumFn = sum_local,
) -> Tensor:
    """Divergence KL(teacher || student) at a temperature, times its square; >= 0, nats.

    `shares`: (rows, classes) of probabilities, a row of zeros where no teacher spoke.
    """
    taught_weight = weight * (teacher_probs.sum(1) > 0)
    # p^(1/T), normalised, is the softmax of the teacher's logits divided by T.
    tempered_probs = teacher_probs.clamp(min=1e-8).pow(1 / temperature)
    tempered_probs = tempered_probs / tempered_probs.sum(1, keepdim=True)
    log_probs = functional.log_softmax(logits / temperature, dim=1)
    row_losses = (tempered_probs * (tempered_probs.log() - log_probs)).sum(1)
    return (
        temperature**2
        * (row_losses * taught_weight).sum()
        / reduce_sum(taught_weight.sum()).clamp(min=_EPSILON)
    )


def feature_l1(
    student_features: Mapping[str, Tensor],
    teacher_features: Mapping[str, Tensor],
    weights: Mapping[str, float],
) -> Tensor:
    """The weighted sum, by name, of mean absolute differences between features of equal shape.

    A mean over all numbers, whatever the rows weigh. Raises `UserError` for a feature that one of
    the two has not, or of another shape.
    """
    total = torch.zeros(())
    for name, weight in weights.items():
        for owner, available in (
            ("the student", student_features),
            ("the teacher", teacher_features),
        ):
            if name not in available:
                names = ", ".join(available) or "none"
                raise UserError(f"losses.feature_l1: {owner} has no {name}; it has {names}")
        if student_features[name].shape != teacher_features[name].shape:
            shapes = " and ".join(
                str(tuple(t.shape)) for t in (student_features[name], teacher_features[name])
            )
            raise UserError(f"losses.feature_l1: {name} is {shapes} in student and teacher")
        total = total + weight * (student_features[name] - teacher_features[name]).abs().mean()
    return total
