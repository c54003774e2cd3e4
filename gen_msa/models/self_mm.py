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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gen_msa.errors import UserError
from gen_msa.models.base import Batch, InputDims, Output, models
from gen_msa.models.layers import text_encoder
from gen_msa.models.layers.attention import LearnedTokenPooling
from gen_msa.models.layers.text_encoder import AudioVideoTextConfig

# The label memory of Self-MM: what each modality of a row says by itself, guessed and kept.

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
            target = (
                scores * distance / (fused_distance + _EPSILON) + scores + distance - fused_distance
            ) / 2
            target = target.clamp(-self.label_range, self.label_range)
            updated[:, column] = (epoch - 1) / (epoch + 1) * labels[:, column] + 2 / (
                epoch + 1
            ) * target
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
        self.summaries = nn.ModuleDict(
            {m: SequenceSummary(input_dims.width[m], n) for m in n.sources}
        )
        widths = {"text": 2 * n.width} | dict.fromkeys(n.sources, n.source_width)
        self.unimodal_heads = nn.ModuleDict(
            {
                m: PredictionHead(w, self.config[f"{m}_width"], 1, n.fusion_dropout)
                for m, w in widths.items()
            }
        )
        self.fusion_head = PredictionHead(
            sum(widths.values()), n.fused_width, input_dims.classes, n.fusion_dropout
        )
        self._label_generator = UnimodalLabelGenerator(tuple(widths), n.label_range)

    @property
    def memory(self) -> dict[str, Tensor]:
        """Row -> what is known of it: own labels, and where its hidden layers lay."""
        return self._label_generator.memory

    def forward(self, batch: Batch) -> Output:
        """Logits; features `text` and the hidden layers `hidden.fused`, `hidden.text`, …

        In training the losses `own.text`, …: mean differences of own scores from own labels.
        """
        encoded = text_encoder.encode(self.encoder, batch)
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
            self._label_generator.update(
                ids, scores[rows], self._present(batch)[rows], hidden, epoch
            )

    def load_pretrained(self) -> str:
        """Take over the packaged encoder; all else stays new.

        Raises `UserError` when the package is missing or its shape is not this student's.
        """
        return text_encoder.load_pretrained(self.encoder)

    def _losses(self, batch: Batch, scores_by_modality: dict[str, Tensor]) -> dict[str, Tensor]:
        scores, has_score = _label_scores(batch)
        labels, weights = self._label_generator.unimodal_labels(batch.ids, scores)
        weights = weights * (self._present(batch) & has_score.unsqueeze(1))
        return {
            f"unimodal.{name}": (weights[:, i] * (scores_by_modality[name] - labels[:, i]).abs()).mean()
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
        score, has_score = (
            batch.teacher_probs[:, -1] - batch.teacher_probs[:, 0],
            batch.teacher_probs.sum(1) > 0,
        )
    if batch.target is not None:
        has_label = batch.target >= 0
        score, has_score = torch.where(has_label, batch.target - 1.0, score), has_score | has_label
    return score, has_score


def _check_length(name: str, batch: Batch, limit: int) -> None:
    if batch.inputs[name].shape[1] > limit:
        raise UserError(
            f"{name} of {batch.inputs[name].shape[1]} steps, and the student knows {limit}",
            hint="see config.source_steps",
        )
