"""Rows in, probabilities out: the one way in which a student is asked, in training and after it.

Rows of like length are read together; the order given is the order returned. Knows nothing of
files.

    probabilities(student, collate, rows)[0]      # [0.02, 0.91, 0.07]: negative, neutral, positive
"""

from collections.abc import Sequence
from typing import Any

import torch

from gen_msa.models.base import AspectExample, Model
from gen_msa.models.inputs.collator import Collator


def predict_probabilities(
    student: Model, collator: Collator, rows: Sequence[AspectExample], *, batch_size: int = 64
) -> list[list[float]]:
    """For each row the probability of each class; NaN where the student's logits are not finite.

    Read in eval mode; the mode it was in comes back, and no random state is touched.
    """
    module: Any = student
    was_training = module.training
    device = next(module.parameters()).device
    module.eval()
    try:
        lengths = [collator.length(r) for r in rows]
        order = sorted(range(len(rows)), key=lambda i: lengths[i])
        results: list[list[float]] = [[]] * len(rows)
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            with torch.no_grad():
                logits = student(collator([rows[i] for i in indices]).to(device)).logits
            for i, row in zip(indices, logits.double().softmax(-1).tolist(), strict=True):
                results[i] = row
        return results
    finally:
        module.train(was_training)
