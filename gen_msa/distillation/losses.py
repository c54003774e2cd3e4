"""The losses of a student: labels, teachers' probabilities, teachers' features.

Each is a mean over rows, by their weight; a row that lacks what a loss needs is not in its mean.
Where several processes share a batch, `reduce_sum` adds up the denominators of all their rows, so
that the sum of their losses is the mean over the batch.

    label_cross_entropy(logits, batch.target, batch.weight)       # a scalar, nats
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from gen_msa.errors import UserError

SumFn = Callable[[Tensor], Tensor]
"""Sum of a scalar over all processes that share a batch."""
_EPSILON = 1e-12
"""Lower bound of a sum of weights: a batch in which no row counts has loss 0."""


def sum_local(value: Tensor) -> Tensor:
    """Return the value itself: the `reduce_sum` of one process.

    Args:
        value: A scalar.
    """
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
    """Compute the weighted mean cross-entropy with the labels.

    Args:
        logits: `(rows, classes)`.
        target: `(rows,)` class indices; -1 where a row has no label.
        weight: `(rows,)` how much each row counts.
        by_class: `(classes,)` weight of a row by its label; None for equal weights.
        smoothing: Share (0..1) of the target that is spread over all classes.
        reduce_sum: Sums a scalar over the processes that share the batch.

    Returns:
        A scalar in nats; 0 if no row has a label.
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


def distillation_kl(
    logits: Tensor,
    teacher_probs: Tensor,
    weight: Tensor,
    *,
    temperature: float = 1.0,
    reduce_sum: SumFn = sum_local,
) -> Tensor:
    """Compute KL(teacher || student) at a temperature, times its square (Hinton et al. 2015).

    Args:
        logits: The student's, `(rows, classes)`.
        teacher_probs: `(rows, classes)`, each row sums to 1; zeros where there is no teacher.
        weight: `(rows,)` how much each row counts.
        temperature: Above 0; higher ones weigh the unlikely classes more.
        reduce_sum: Sums a scalar over the processes that share the batch.

    Returns:
        A scalar >= 0 in nats: the weighted mean over rows that have a teacher.
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
    """Compute the weighted sum of mean absolute differences between features of equal shape.

    The mean is over all numbers of a feature, whatever the rows weigh.

    Args:
        student_features: Name -> `(rows, ...)`.
        teacher_features: Name -> `(rows, ...)`.
        weights: Name of a feature -> its weight; other features are not compared.

    Returns:
        A scalar, at least 0 for weights of at least 0; 0 without weights.

    Raises:
        UserError: If one of the two lacks a feature, or has it in another shape.
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
