"""Rows in, probabilities out: the one way in which a student is asked, in training and after it.

Rows of like length are read together; the order given is the order returned. Knows nothing of
files.

    probabilities(student, collate, rows)[0]      # [0.02, 0.91, 0.07]: negative, neutral, positive
"""

from collections.abc import Sequence
from typing import Any

import torch

from gen_msa.students.base import Row, Student
from gen_msa.students.common.collating import Words


def probabilities(
    student: Student, collate: Words, rows: Sequence[Row], *, together: int = 64
) -> list[list[float]]:
    """For each row the probability of each class; NaN where the student's logits are not finite.

    Read in eval mode; the mode it was in comes back, and no random state is touched.
    """
    module: Any = student
    was_training = module.training
    device = next(module.parameters()).device
    module.eval()
    try:
        lengths = [collate.length(r) for r in rows]
        order = sorted(range(len(rows)), key=lambda i: lengths[i])
        found: list[list[float]] = [[]] * len(rows)
        for at in range(0, len(order), together):
            some = order[at : at + together]
            with torch.no_grad():
                logits = student(collate([rows[i] for i in some]).to(device)).logits
            for i, row in zip(some, logits.double().softmax(-1).tolist(), strict=True):
                found[i] = row
        return found
    finally:
        module.train(was_training)
