"""Self-MM: text, audio and video learn beside the whole what each of them says by itself.

    text ─► MiniLM ──────┬─► hidden ─► own score        own labels: from where its hidden layer lies
    audio ─► summary ────┼─► hidden ─► own score        among positive and negative rows, kept of
    video ─► summary ────┼─► hidden ─► own score        each row, and moved less each epoch
                         └─► all ─► hidden ─► 3 logits

Yu W., Xu H., Yuan Z., Wu J., "Learning modality-specific representations with self-supervised
multi-task learning for multimodal sentiment analysis" (AAAI 2021). The own scores serve training
alone, and so does the memory of labels: reading needs neither.

It differs from the paper: the whole says three classes by the recipe's losses, not an intensity by
L1; the score of a label is -1, 0 or 1 (without a label: a teacher's positive less negative), so
that own labels are in -1..1, not -3..3; MiniLM (22 M) reads text and aspect, not BERT-base the
text; a learned token with a transformer of one layer sums up audio and video, not an LSTM; what
comes after the hidden layer is one linear layer, as in the paper (its code has two); distances are
not squared, as in its code; in the first epoch, when nothing is known of a row, own scores learn
the label of the whole at full weight, where the paper's weight is 0; what is absent has no own
label; one rate for all new layers, and a batch is not accumulated over 4.

    students["self_mm"](Sizes(width={"text": 30522, "audio": 73, "video": 100}))
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gen_msa.errors import UserError
from gen_msa.students._self_mm import FUSED, Labels
from gen_msa.students.base import Batch, Output, Sizes, students
from gen_msa.students.common import encoder
from gen_msa.students.common.attending import Leading
from gen_msa.students.common.numbers import HearingNumbers


@dataclass(frozen=True)
class Numbers(HearingNumbers):
    """The student's own numbers; widths of hidden layers are the released code's for MOSI."""

    source_width: int = 32
    """Of the summaries of audio and video, as are `source_heads` and `source_feed`."""
    source_heads: int = 4
    source_feed: int = 64
    fused_width: int = 128
    """Of the hidden layers, as are the next three."""
    text_width: int = 64
    audio_width: int = 16
    video_width: int = 32
    drop: float = 0.1
    """Dropout outside the encoder."""
    reach: float = 1.0
    """The largest own label; labels of the whole are -1, 0 and 1."""


class Summary(nn.Module):  # type: ignore[misc]
    """A source of any length as one vector; nothing where it is absent."""

    def __init__(self, width: int, n: Numbers) -> None:
        """`width`: of a step."""
        super().__init__()
        self.steps = nn.Linear(width, n.source_width)
        self.places = nn.Parameter(torch.randn(n.source_steps, n.source_width) * 0.02)
        self.token = Leading(
            1,
            n.source_width,
            layers=1,
            heads=n.source_heads,
            feed=n.source_feed,
            dropout=n.drop,
        )

    def forward(self, x: Tensor, mask: Tensor, present: Tensor) -> Tensor:
        """(rows, steps, width), (rows, steps), (rows,) -> (rows, `source_width`)."""
        steps = self.steps(x) + self.places[: x.shape[1]]
        return torch.as_tensor(self.token(steps, mask)[:, 0] * present.unsqueeze(1))


class Hidden(nn.Module):  # type: ignore[misc]
    """A hidden layer, and what is said from it."""

    def __init__(self, width: int, hidden: int, out: int, drop: float) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Dropout(drop), nn.Linear(width, hidden), nn.ReLU())
        self.says = nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(rows, hidden), (rows, out)."""
        hidden = self.layer(x)
        return hidden, self.says(hidden)


@students.register
class SelfMm(nn.Module):  # type: ignore[misc]
    """Whole and parts learn together; only the whole is read. Each row is read alone."""

    reads = ("text", "audio", "video")

    def __init__(self, sizes: Sizes, **numbers: Any) -> None:
        """New weights, drawn from torch's random state; `numbers` are those of `Numbers`.

        Raises `ValueError` for data without a source that it is to hear or see.
        """
        n = Numbers(**numbers)
        n.check(sizes)
        super().__init__()
        self.sizes, self._n = sizes, n
        self.numbers: dict[str, Any] = n.plain()
        self.encoder = n.encoder(sizes.width["text"])
        self.sources = nn.ModuleDict({m: Summary(sizes.width[m], n) for m in n.sources})
        widths = {"text": 2 * n.width} | dict.fromkeys(n.sources, n.source_width)
        self.own = nn.ModuleDict(
            {m: Hidden(w, self.numbers[f"{m}_width"], 1, n.drop) for m, w in widths.items()}
        )
        self.whole = Hidden(sum(widths.values()), n.fused_width, sizes.classes, n.drop)
        self._labels = Labels(tuple(widths), n.reach)

    @property
    def memory(self) -> dict[str, Tensor]:
        """Row -> what is known of it: own labels, and where its hidden layers lay."""
        return self._labels.memory

    def forward(self, batch: Batch) -> Output:
        """Logits; features `text` and the hidden layers `hidden.fused`, `hidden.text`, …

        In training the losses `own.text`, …: mean differences of own scores from own labels.
        """
        heard = encoder.hear(self.encoder, batch)
        parts = {"text": torch.cat([heard.text, heard.aspect], dim=1)}
        for name, summary in self.sources.items():
            _fits(name, batch, self._n.source_steps)
            parts[name] = summary(batch.x[name], batch.mask[name], batch.present[name])
        fused, logits = self.whole(torch.cat(list(parts.values()), dim=1))
        said = {name: self.own[name](part) for name, part in parts.items()}
        features = {"text": heard.text, f"hidden.{FUSED}": fused}
        features |= {f"hidden.{name}": hidden for name, (hidden, _) in said.items()}
        scores = {name: score.squeeze(1) for name, (_, score) in said.items()}
        return Output(logits, features, self._losses(batch, scores) if self.training else {})

    def learned(self, batch: Batch, said: Output, epoch: int) -> None:
        """Move the own labels of the rows of a step, and note where they lie."""
        scores, known = _scores(batch)
        if rows := known.nonzero().squeeze(1).tolist():
            hidden = {
                name: said.features[f"hidden.{name}"][rows]
                for name in (FUSED, *self._labels.modalities)
            }
            ids = [batch.ids[i] for i in rows]
            self._labels.learn(ids, scores[rows], self._present(batch)[rows], hidden, epoch)

    def warm_up(self) -> str:
        """Take over the packaged encoder; all else stays new.

        Raises `UserError` when the package is missing or its shape is not this student's.
        """
        return encoder.warm_up(self.encoder)

    def _losses(self, batch: Batch, said: dict[str, Tensor]) -> dict[str, Tensor]:
        scores, known = _scores(batch)
        labels, weights = self._labels.own(batch.ids, scores)
        weights = weights * (self._present(batch) & known.unsqueeze(1))
        return {
            f"own.{name}": (weights[:, i] * (said[name] - labels[:, i]).abs()).mean()
            for i, name in enumerate(self._labels.modalities)
        }

    def _present(self, batch: Batch) -> Tensor:
        """(rows, modalities)."""
        return torch.stack([batch.present[m] for m in self._labels.modalities], dim=1)


def _scores(batch: Batch) -> tuple[Tensor, Tensor]:
    """Labels as -1, 0 and 1, or what teachers expect of them; and where there is one. (rows,)."""
    score = torch.zeros(len(batch.ids), device=batch.x["text"].device)
    known = torch.zeros_like(score, dtype=torch.bool)
    if batch.soft is not None:
        score, known = batch.soft[:, -1] - batch.soft[:, 0], batch.soft.sum(1) > 0
    if batch.target is not None:
        told = batch.target >= 0
        score, known = torch.where(told, batch.target - 1.0, score), known | told
    return score, known


def _fits(name: str, batch: Batch, most: int) -> None:
    if batch.x[name].shape[1] > most:
        raise UserError(
            f"{name} of {batch.x[name].shape[1]} steps, and the student knows {most}",
            mend="see numbers.source_steps",
        )
