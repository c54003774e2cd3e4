"""Rows made into a batch of tensors: the arrays of `arrays`, and what is to be learned of them.

Knows nothing of students. torch is loaded when the first batch is made.

    collate = Words(Path("tokenizer.json").read_text(), max_length=128)
    collate([Row("1/0", "The soup was good", Aspect(term="soup", start=4))]).x["text"]
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gen_msa.students.base import CLASSES, Batch, Row
from gen_msa.students.common.arrays import Arranger

if TYPE_CHECKING:
    from torch import Tensor


class Words(Arranger):
    """Collates rows. Two of the same tokenizer and options make the same batches."""

    @property
    def vocabulary(self) -> int:
        """Number of different tokens."""
        return int(self._tokenizer.get_vocab_size())

    def __call__(self, rows: Sequence[Row]) -> Batch:
        """The rows in their order. Raises `UserError` for features of another width."""
        import torch

        made = self.arrays(rows)
        return Batch(
            ids=tuple(r.id for r in rows),
            x={k: torch.from_numpy(v) for k, v in made.x.items()},
            mask={k: torch.from_numpy(v) for k, v in made.mask.items()},
            present={k: torch.from_numpy(v) for k, v in made.present.items()},
            target=_targets(rows),
            raw_text=tuple(self.seen(r.text) for r in rows),
            soft=_soft(rows),
            weight=torch.tensor([r.weight for r in rows]),
        )


def _targets(rows: Sequence[Row]) -> "Tensor | None":
    import torch

    if all(r.target is None for r in rows):
        return None
    return torch.tensor([-1 if r.target is None else CLASSES.index(r.target) for r in rows])


def _soft(rows: Sequence[Row]) -> "Tensor | None":
    import torch

    if not any(r.soft for r in rows):
        return None
    return torch.tensor([r.soft or (0.0,) * len(CLASSES) for r in rows])
