"""Predict class probabilities with a student, in training and in use.

Rows of similar length share a batch; results are in the order of the rows.

    predict_probabilities(student, collator, rows)[0]     # [0.02, 0.91, 0.07]: neg., neutral, pos.
"""

from collections.abc import Sequence
from typing import Any

import torch

from gen_msa.models.base import AspectExample, Model
from gen_msa.models.inputs.collator import Collator, similar_length_batches
from gen_msa.preemption import preemption_point


def predict_probabilities(
    student: Model,
    collator: Collator,
    rows: Sequence[AspectExample],
    *,
    batch_size: int = 64,
    max_tokens: int | None = None,
) -> list[list[float]]:
    """Predict the probability of each class for each row; NaN where its logits are not finite.

    Runs in evaluation mode; the previous mode is restored, and no random state changes.

    Args:
        student: Model to ask.
        collator: Its collator.
        rows: Rows to classify.
        batch_size: Most rows in a batch.
        max_tokens: Most tokens in a batch, padding included, unless one row has more.

    Returns:
        Probabilities of the classes per row, in the order of `rows`.
    """
    module: Any = student
    was_training = module.training
    device = next(module.parameters()).device
    module.eval()
    try:
        lengths = [collator.length(r) for r in rows]
        results: list[list[float]] = [[]] * len(rows)
        for indices in similar_length_batches(lengths, batch_size, max_tokens):
            preemption_point()
            with torch.no_grad():
                logits = student(collator([rows[i] for i in indices]).to(device)).logits
            for i, row in zip(indices, logits.double().softmax(-1).tolist(), strict=True):
                results[i] = row
        return results
    finally:
        module.train(was_training)
