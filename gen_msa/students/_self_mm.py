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

_LEAST = 1e-8
FUSED = "fused"


class Labels:
    """Of each row, by id: its score, each modality's own, and where each lay when last seen."""

    def __init__(self, modalities: Sequence[str], reach: float) -> None:
        """`reach`: the largest score; scores are in -`reach`..`reach`."""
        self.modalities = tuple(modalities)
        self.reach = reach
        self.memory: dict[str, Tensor] = {}
        """Id -> score, own scores (NaN where a modality is absent), then representations."""

    def own(self, ids: Sequence[str], scores: Tensor) -> tuple[Tensor, Tensor]:
        """Own labels (rows, modalities), and how much each is to count: tanh of how far it is off.

        A row that is not known yet has the label of the whole in all, and each counts 1.
        """
        known = [self.memory.get(i) for i in ids]
        count = len(self.modalities)
        labels = scores.unsqueeze(1).repeat(1, count)
        weights = torch.ones_like(labels)
        for place, row in enumerate(known):
            if row is not None:
                labels[place] = row[1 : 1 + count].nan_to_num().to(labels)
                weights[place] = (labels[place] - scores[place]).abs().tanh()
        return labels, weights

    def learn(
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
        spread = {name: value.detach().float().cpu() for name, value in hidden.items()}
        scores, present = scores.float().cpu(), present.cpu()
        labels = self.own(ids, scores)[0]
        if epoch:
            labels = self._moved(labels, scores, spread, epoch + 1)
        labels = torch.where(present, labels, torch.nan)
        rows = [scores.unsqueeze(1), labels]
        rows += [spread[name] for name in (FUSED, *self.modalities)]
        for name, row in zip(ids, torch.cat(rows, dim=1), strict=True):
            self.memory[name] = row.clone()

    def _moved(
        self, labels: Tensor, scores: Tensor, hidden: Mapping[str, Tensor], n: int
    ) -> Tensor:
        """Own labels after epoch `n`, from 1; as they were where there are no two centres yet."""
        centres = self._centres({name: value.shape[1] for name, value in hidden.items()})
        if FUSED not in centres:
            return labels
        whole = _leaning(hidden[FUSED], centres[FUSED])
        moved = labels.clone()
        for column, name in enumerate(self.modalities):
            if name not in centres:
                continue
            own = _leaning(hidden[name], centres[name])
            guess = (scores * own / (whole + _LEAST) + scores + own - whole) / 2
            guess = guess.clamp(-self.reach, self.reach)
            moved[:, column] = (n - 1) / (n + 1) * labels[:, column] + 2 / (n + 1) * guess
        return moved

    def _centres(self, widths: Mapping[str, int]) -> dict[str, tuple[Tensor, Tensor]]:
        """Of all known rows, the mean place of positive and of negative ones; where there are."""
        if not self.memory:
            return {}
        table = torch.stack(list(self.memory.values()))
        names = (FUSED, *self.modalities)
        count = len(names)
        places = table[:, count:].split([widths[name] for name in names], dim=1)
        found = {}
        for column, (name, place) in enumerate(zip(names, places, strict=True)):
            label = table[:, column]
            up, down = place[label > 0], place[label < 0]
            if len(up) and len(down):
                found[name] = (up.mean(0), down.mean(0))
        return found


def _leaning(places: Tensor, centres: tuple[Tensor, Tensor]) -> Tensor:
    """How much nearer (rows, width) lie to the first centre than to the second; by the nearer."""
    near, far = ((places - c).norm(dim=1) for c in centres)
    return (far - near) / (near + _LEAST)
