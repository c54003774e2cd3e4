"""Rows made into a batch of tensors: the arrays of `arrays`, and what is to be learned of them.

Knows nothing of students. torch is loaded when the first batch is made.

    collate = Words(Path("tokenizer.json").read_text(), max_length=128)
    collate([Row("1/0", "The soup was good", Aspect(term="soup", start=4))]).x["text"]
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gen_msa.students.base import CLASSES, Batch, AspectExample
from gen_msa.students.common.arrays import ArrayCollator

if TYPE_CHECKING:
    from torch import Tensor


class Collator(ArrayCollator):
    """Collates rows. Two of the same tokenizer and options make the same batches."""

    @property
    def vocab_size(self) -> int:
        """Number of different tokens."""
        return int(self._tokenizer.get_vocab_size())

    def __call__(self, rows: Sequence[AspectExample]) -> Batch:
        """The rows in their order. Raises `UserError` for features of another width."""
        import torch

        arrays = self.collate(rows)
        return Batch(
            ids=tuple(r.id for r in rows),
            inputs={k: torch.from_numpy(v) for k, v in arrays.inputs.items()},
            mask={k: torch.from_numpy(v) for k, v in arrays.mask.items()},
            present={k: torch.from_numpy(v) for k, v in arrays.present.items()},
            target=_targets(rows),
            texts=tuple(self.visible_text(r.text) for r in rows),
            teacher_probs=_teacher_probs(rows),
            weight=torch.tensor([r.weight for r in rows]),
        )


def _targets(rows: Sequence[AspectExample]) -> "Tensor | None":
    import torch

    if all(r.target is None for r in rows):
        return None
    return torch.tensor([-1 if r.target is None else CLASSES.index(r.target) for r in rows])


def _teacher_probs(rows: Sequence[AspectExample]) -> "Tensor | None":
    import torch

    if not any(r.teacher_probs for r in rows):
        return None
    return torch.tensor([r.teacher_probs or (0.0,) * len(CLASSES) for r in rows])
