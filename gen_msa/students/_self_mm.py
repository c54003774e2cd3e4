"""The label memory of Self-MM: what each modality of a row says by itself, guessed and kept.

A row's own label of a modality begins as the label of the whole. From the second epoch it moves
with how much nearer the modality lies to the centre of positive rows than to that of negative ones,
against how much nearer the fused representation does; the later the epoch, the less. Knows nothing
of networks.

    labels = Labels(("text", "audio"), reach=1.0); labels.learn(ids, scores, present, hidden, epoch)
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

_EPSILON = 1e-8
FUSED = "fused"


class UnimodalLabelGenerator:
    """Of each row, by id: its score, each modality's own, and where each lay when last seen."""

    def __init__(self, modalities: Sequence[str], label_range: float) -> None:
        """`reach`: the largest score; scores are in -`reach`..`reach`."""
        self.modalities = tuple(modalities)
        self.label_range = label_range
        self.memory: dict[str, Tensor] = {}
        """Id -> score, own scores (NaN where a modality is absent), then representations."""

    def unimodal_labels(self, ids: Sequence[str], scores: Tensor) -> tuple[Tensor, Tensor]:
        """Own labels (rows, modalities), and how much each is to count: tanh of how far it is off.

        A row that is not known yet has the label of the whole in all, and each counts 1.
        """
        stored = [self.memory.get(i) for i in ids]
        count = len(self.modalities)
        labels = scores.unsqueeze(1).repeat(1, count)
        weights = torch.ones_like(labels)
        for index, row in enumerate(stored):
            if row is not None:
                labels[index] = row[1 : 1 + count].nan_to_num().to(labels)
                weights[index] = (labels[index] - scores[index]).abs().tanh()
        return labels, weights

    def update(
        self,
        ids: Sequence[str],
        scores: Tensor,
        present: Tensor,
        hidden: Mapping[str, Tensor],
        epoch: int,
    ) -> None:
        """Move the labels of these rows (from the second epoch on), and note where they lie now.

        `scores`: (rows,); `present`: (rows, modalities); `hidden`: name -> (rows, width) of `fused`
        and of each modality; `epoch`: from 0.
        """
        hidden_states = {name: value.detach().float().cpu() for name, value in hidden.items()}
        scores, present = scores.float().cpu(), present.cpu()
        labels = self.unimodal_labels(ids, scores)[0]
        if epoch:
            labels = self._updated_labels(labels, scores, hidden_states, epoch + 1)
        labels = torch.where(present, labels, torch.nan)
        rows = [scores.unsqueeze(1), labels]
        rows += [hidden_states[name] for name in (FUSED, *self.modalities)]
        for name, row in zip(ids, torch.cat(rows, dim=1), strict=True):
            self.memory[name] = row.clone()

    def _updated_labels(
        self, labels: Tensor, scores: Tensor, hidden: Mapping[str, Tensor], epoch: int
    ) -> Tensor:
        """Own labels after epoch `n`, from 1; as they were where there are no two centres yet."""
        centers = self._class_centers({name: value.shape[1] for name, value in hidden.items()})
        if FUSED not in centers:
            return labels
        fused_distance = _relative_distance(hidden[FUSED], centers[FUSED])
        updated = labels.clone()
        for column, name in enumerate(self.modalities):
            if name not in centers:
                continue
            distance = _relative_distance(hidden[name], centers[name])
            target = (scores * distance / (fused_distance + _EPSILON) + scores + distance - fused_distance) / 2
            target = target.clamp(-self.label_range, self.label_range)
            updated[:, column] = (epoch - 1) / (epoch + 1) * labels[:, column] + 2 / (epoch + 1) * target
        return updated

    def _class_centers(self, widths: Mapping[str, int]) -> dict[str, tuple[Tensor, Tensor]]:
        """Of all known rows, the mean place of positive and of negative ones; where there are."""
        if not self.memory:
            return {}
        table = torch.stack(list(self.memory.values()))
        names = (FUSED, *self.modalities)
        count = len(names)
        hidden_states = table[:, count:].split([widths[name] for name in names], dim=1)
        centers = {}
        for column, (name, hidden) in enumerate(zip(names, hidden_states, strict=True)):
            label = table[:, column]
            positive, negative = hidden[label > 0], hidden[label < 0]
            if len(positive) and len(negative):
                centers[name] = (positive.mean(0), negative.mean(0))
        return centers


def _relative_distance(hidden_states: Tensor, centers: tuple[Tensor, Tensor]) -> Tensor:
    """How much nearer (rows, width) lie to the first centre than to the second; by the nearer."""
    near, far = ((hidden_states - c).norm(dim=1) for c in centers)
    return (far - near) / (near + _EPSILON)
