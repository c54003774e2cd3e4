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
from gen_msa.students._self_mm import FUSED, UnimodalLabelGenerator
from gen_msa.students.base import Batch, Output, InputDims, models
from gen_msa.students.common import encoder
from gen_msa.students.common.attending import LearnedTokenPooling
from gen_msa.students.common.numbers import AudioVideoTextConfig


@dataclass(frozen=True)
class SelfMmConfig(AudioVideoTextConfig):
    """The student's own numbers; widths of hidden layers are the released code's for MOSI."""

    source_width: int = 32
    """Of the summaries of audio and video, as are `source_heads` and `source_feed`."""
    source_heads: int = 4
    source_ffn_dim: int = 64
    fused_width: int = 128
    """Of the hidden layers, as are the next three."""
    text_width: int = 64
    audio_width: int = 16
    video_width: int = 32
    fusion_dropout: float = 0.1
    """Dropout outside the encoder."""
    label_range: float = 1.0
    """The largest own label; labels of the whole are -1, 0 and 1."""


class SequenceSummary(nn.Module):  # type: ignore[misc]
    """A source of any length as one vector; nothing where it is absent."""

    def __init__(self, width: int, n: SelfMmConfig) -> None:
        """`width`: of a step."""
        super().__init__()
        self.step_proj = nn.Linear(width, n.source_width)
        self.positions = nn.Parameter(torch.randn(n.source_steps, n.source_width) * 0.02)
        self.pooling = LearnedTokenPooling(
            1,
            n.source_width,
            layers=1,
            heads=n.source_heads,
            ffn_dim=n.source_ffn_dim,
            dropout=n.fusion_dropout,
        )

    def forward(self, x: Tensor, mask: Tensor, present: Tensor) -> Tensor:
        """(rows, steps, width), (rows, steps), (rows,) -> (rows, `source_width`)."""
        steps = self.step_proj(x) + self.positions[: x.shape[1]]
        return torch.as_tensor(self.pooling(steps, mask)[:, 0] * present.unsqueeze(1))


class PredictionHead(nn.Module):  # type: ignore[misc]
    """A hidden layer, and what is said from it."""

    def __init__(self, width: int, hidden: int, out: int, dropout: float) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, hidden), nn.ReLU())
        self.out = nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(rows, hidden), (rows, out)."""
        hidden = self.layer(x)
        return hidden, self.out(hidden)


@models.register
class SelfMm(nn.Module):  # type: ignore[misc]
    """Whole and parts learn together; only the whole is read. Each row is read alone."""

    modalities = ("text", "audio", "video")

    def __init__(self, input_dims: InputDims, **config: Any) -> None:
        """New weights, drawn from torch's random state; `numbers` are those of `Numbers`.

        Raises `ValueError` for data without a source that it is to hear or see.
        """
        n = SelfMmConfig(**config)
        n.check_inputs(input_dims)
        super().__init__()
        self.input_dims, self._config = input_dims, n
        self.config: dict[str, Any] = n.to_dict()
        self.encoder = n.build_encoder(input_dims.width["text"])
        self.summaries = nn.ModuleDict({m: SequenceSummary(input_dims.width[m], n) for m in n.sources})
        widths = {"text": 2 * n.width} | dict.fromkeys(n.sources, n.source_width)
        self.unimodal_heads = nn.ModuleDict(
            {m: PredictionHead(w, self.config[f"{m}_width"], 1, n.fusion_dropout) for m, w in widths.items()}
        )
        self.fusion_head = PredictionHead(sum(widths.values()), n.fused_width, input_dims.classes, n.fusion_dropout)
        self._label_generator = UnimodalLabelGenerator(tuple(widths), n.label_range)

    @property
    def memory(self) -> dict[str, Tensor]:
        """Row -> what is known of it: own labels, and where its hidden layers lay."""
        return self._label_generator.memory

    def forward(self, batch: Batch) -> Output:
        """Logits; features `text` and the hidden layers `hidden.fused`, `hidden.text`, …

        In training the losses `own.text`, …: mean differences of own scores from own labels.
        """
        encoded = encoder.encode(self.encoder, batch)
        parts = {"text": torch.cat([encoded.text, encoded.aspect], dim=1)}
        for name, summary in self.summaries.items():
            _check_length(name, batch, self._config.source_steps)
            parts[name] = summary(batch.inputs[name], batch.mask[name], batch.present[name])
        fused, logits = self.fusion_head(torch.cat(list(parts.values()), dim=1))
        unimodal_outputs = {name: self.unimodal_heads[name](part) for name, part in parts.items()}
        features = {"text": encoded.text, f"hidden.{FUSED}": fused}
        features |= {f"hidden.{name}": hidden for name, (hidden, _) in unimodal_outputs.items()}
        scores = {name: score.squeeze(1) for name, (_, score) in unimodal_outputs.items()}
        return Output(logits, features, self._losses(batch, scores) if self.training else {})

    def on_step_end(self, batch: Batch, output: Output, epoch: int) -> None:
        """Move the own labels of the rows of a step, and note where they lie."""
        scores, has_score = _label_scores(batch)
        if rows := has_score.nonzero().squeeze(1).tolist():
            hidden = {
                name: output.features[f"hidden.{name}"][rows]
                for name in (FUSED, *self._label_generator.modalities)
            }
            ids = [batch.ids[i] for i in rows]
            self._label_generator.update(ids, scores[rows], self._present(batch)[rows], hidden, epoch)

    def load_pretrained(self) -> str:
        """Take over the packaged encoder; all else stays new.

        Raises `UserError` when the package is missing or its shape is not this student's.
        """
        return encoder.load_pretrained(self.encoder)

    def _losses(self, batch: Batch, scores_by_modality: dict[str, Tensor]) -> dict[str, Tensor]:
        scores, has_score = _label_scores(batch)
        labels, weights = self._label_generator.unimodal_labels(batch.ids, scores)
        weights = weights * (self._present(batch) & has_score.unsqueeze(1))
        return {
            f"own.{name}": (weights[:, i] * (scores_by_modality[name] - labels[:, i]).abs()).mean()
            for i, name in enumerate(self._label_generator.modalities)
        }

    def _present(self, batch: Batch) -> Tensor:
        """(rows, modalities)."""
        return torch.stack([batch.present[m] for m in self._label_generator.modalities], dim=1)


def _label_scores(batch: Batch) -> tuple[Tensor, Tensor]:
    """Labels as -1, 0 and 1, or what teachers expect of them; and where there is one. (rows,)."""
    score = torch.zeros(len(batch.ids), device=batch.inputs["text"].device)
    has_score = torch.zeros_like(score, dtype=torch.bool)
    if batch.teacher_probs is not None:
        score, has_score = batch.teacher_probs[:, -1] - batch.teacher_probs[:, 0], batch.teacher_probs.sum(1) > 0
    if batch.target is not None:
        has_label = batch.target >= 0
        score, has_score = torch.where(has_label, batch.target - 1.0, score), has_score | has_label
    return score, has_score


def _check_length(name: str, batch: Batch, limit: int) -> None:
    if batch.inputs[name].shape[1] > limit:
        raise UserError(
            f"{name} of {batch.inputs[name].shape[1]} steps, and the student knows {limit}",
            hint="see numbers.source_steps",
        )
