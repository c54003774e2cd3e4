"""Self-MM: text, audio and video each learn a label of their own beside the fused one.

    text ─► MiniLM ──────┬─► hidden ─► unimodal score    unimodal labels: from the distances of
    audio ─► summary ────┼─► hidden ─► unimodal score    the hidden layer to the centers of positive
    video ─► summary ────┼─► hidden ─► unimodal score    and negative rows; updated less each epoch
                         └─► all ─► hidden ─► 3 logits

Yu W., Xu H., Yuan Z., Wu J., "Learning modality-specific representations with self-supervised
multi-task learning for multimodal sentiment analysis" (AAAI 2021). Unimodal scores and labels serve
training alone; inference needs neither.

Differences from the paper: the fused head predicts three classes by the recipe's losses, not an
intensity by L1; the score of a label is -1, 0 or 1 (without a label: the teacher's positive minus
negative probability), so unimodal labels are in -1..1, not -3..3; MiniLM (22 M) reads text and
aspect, not BERT-base the text; a learned token with a transformer layer summarizes audio and video,
not an LSTM; one linear layer follows the hidden layer, as in the paper (its code has two);
distances are not squared, as in its code; in the first epoch, unimodal scores learn the fused label
at full weight, where the paper's weight is 0; an absent modality has no unimodal label; all new
layers have one learning rate, and gradients are not accumulated over 4 batches.

    models["self_mm"](InputDims(width={"text": 30522, "audio": 73, "video": 100}))
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

_EPSILON = 1e-8
FUSED = "fused"


class UnimodalLabelGenerator:
    """For each row, by id: its score, its unimodal labels and its last representations."""

    def __init__(self, modalities: Sequence[str], label_range: float) -> None:
        """Start with an empty memory.

        Args:
            modalities: Names of the modalities.
            label_range: Largest absolute score.
        """
        self.modalities = tuple(modalities)
        self.label_range = label_range
        self.memory: dict[str, Tensor] = {}
        """Id -> score, unimodal labels (NaN where a modality is absent), representations."""

    def unimodal_labels(self, ids: Sequence[str], scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the unimodal labels and their weights.

        A new row has the fused label in all modalities, with weight 1; otherwise the weight is tanh
        of the distance between unimodal and fused label.

        Args:
            ids: Ids of the rows.
            scores: Fused labels, (rows,).

        Returns:
            Labels and weights, each (rows, modalities).
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
        """Update the labels of rows (from the second epoch on) and store their representations.

        Args:
            ids: Ids of the rows.
            scores: Fused labels, (rows,).
            present: (rows, modalities), True where a modality is present.
            hidden: Hidden layers, (rows, width), of `fused` and of each modality.
            epoch: Epoch, from 0.
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
        """Return the labels after an epoch, from 1; unchanged while a center is missing."""
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
        """Return the mean representations of positive and negative rows, where both exist."""
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
    """Return (far - near) / near for the distances (rows,) to the second and first center."""
    near, far = ((hidden_states - c).norm(dim=1) for c in centers)
    return (far - near) / (near + _EPSILON)


@dataclass(frozen=True)
class SelfMmConfig(AudioVideoTextConfig):
    """Hyperparameters; widths of hidden layers are those of the released code for MOSI."""

    source_width: int = 32
    """Width of the summaries of audio and video, as `source_heads` and `source_ffn_dim`."""
    source_heads: int = 4
    source_ffn_dim: int = 64
    fused_width: int = 128
    """Width of the fused hidden layer; the next three are those of the modalities."""
    text_width: int = 64
    audio_width: int = 16
    video_width: int = 32
    fusion_dropout: float = 0.1
    """Dropout outside the encoder."""
    label_range: float = 1.0
    """Largest unimodal label; fused labels are -1, 0 and 1."""


class SequenceSummary(nn.Module):  # type: ignore[misc]
    """Summarize a sequence of any length as one vector; zeros where it is absent."""

    def __init__(self, width: int, cfg: SelfMmConfig) -> None:
        """Draw new weights.

        Args:
            width: Width of a step.
            cfg: Hyperparameters.
        """
        super().__init__()
        self.step_proj = nn.Linear(width, cfg.source_width)
        self.positions = nn.Parameter(torch.randn(cfg.source_steps, cfg.source_width) * 0.02)
        self.pooling = LearnedTokenPooling(
            1,
            cfg.source_width,
            layers=1,
            heads=cfg.source_heads,
            ffn_dim=cfg.source_ffn_dim,
            dropout=cfg.fusion_dropout,
        )

    def forward(self, x: Tensor, mask: Tensor, present: Tensor) -> Tensor:
        """Summarize each row.

        Args:
            x: Features, (rows, steps, width).
            mask: (rows, steps), True for real steps.
            present: (rows,), True where the source is present.

        Returns:
            (rows, source_width).
        """
        steps = self.step_proj(x) + self.positions[: x.shape[1]]
        return torch.as_tensor(self.pooling(steps, mask)[:, 0] * present.unsqueeze(1))


class PredictionHead(nn.Module):  # type: ignore[misc]
    """A hidden layer and a linear output layer."""

    def __init__(self, width: int, hidden: int, out: int, dropout: float) -> None:
        """Draw new weights.

        Args:
            width: Width of the input.
            hidden: Width of the hidden layer.
            out: Width of the output.
            dropout: Dropout of the input.
        """
        super().__init__()
        self.layer = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, hidden), nn.ReLU())
        self.out = nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute hidden layer and output.

        Args:
            x: (rows, width).

        Returns:
            (rows, hidden) and (rows, out).
        """
        hidden = self.layer(x)
        return hidden, self.out(hidden)


@models.register
class SelfMm(nn.Module):  # type: ignore[misc]
    """Fused and unimodal heads learn together; only the fused one predicts.

    Rows are independent.
    """

    modalities = ("text", "audio", "video")

    def __init__(self, input_dims: InputDims, **config: Any) -> None:
        """Draw new weights from torch's random state.

        Args:
            input_dims: Sizes of text, audio and video.
            config: Fields of `SelfMmConfig`.

        Raises:
            ValueError: The data lacks a source that the config names.
        """
        cfg = SelfMmConfig(**config)
        cfg.check_inputs(input_dims)
        super().__init__()
        self.input_dims, self._config = input_dims, cfg
        self.config: dict[str, Any] = cfg.to_dict()
        self.encoder = cfg.build_encoder(input_dims.width["text"])
        self.summaries = nn.ModuleDict(
            {m: SequenceSummary(input_dims.width[m], cfg) for m in cfg.sources}
        )
        widths = {"text": 2 * cfg.width} | dict.fromkeys(cfg.sources, cfg.source_width)
        self.unimodal_heads = nn.ModuleDict(
            {
                m: PredictionHead(w, self.config[f"{m}_width"], 1, cfg.fusion_dropout)
                for m, w in widths.items()
            }
        )
        self.fusion_head = PredictionHead(
            sum(widths.values()), cfg.fused_width, input_dims.classes, cfg.fusion_dropout
        )
        self._label_generator = UnimodalLabelGenerator(tuple(widths), cfg.label_range)

    @property
    def memory(self) -> dict[str, Tensor]:
        """Return the values stored for each row: unimodal labels and representations."""
        return self._label_generator.memory

    def forward(self, batch: Batch) -> Output:
        """Classify a batch.

        Returns:
            Logits (rows, classes); features `text` and the hidden layers `hidden.fused`,
            `hidden.text`, … (rows, width); in training the losses `unimodal.text`, …: weighted L1
            of unimodal scores and labels.
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
        """Update the unimodal labels of the rows of a step, and store their representations.

        Args:
            batch: All rows of the step.
            output: Result of the last forward.
            epoch: Epoch, from 0.
        """
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
        """Load the packaged text encoder; all other weights stay new.

        Returns:
            Requirement of the package.

        Raises:
            UserError: The package is missing, or its shape is not this student's.
        """
        return text_encoder.load_pretrained(self.encoder)

    def _losses(self, batch: Batch, scores_by_modality: dict[str, Tensor]) -> dict[str, Tensor]:
        scores, has_score = _label_scores(batch)
        labels, weights = self._label_generator.unimodal_labels(batch.ids, scores)
        weights = weights * (self._present(batch) & has_score.unsqueeze(1))
        return {
            f"unimodal.{name}": (
                weights[:, i] * (scores_by_modality[name] - labels[:, i]).abs()
            ).mean()
            for i, name in enumerate(self._label_generator.modalities)
        }

    def _present(self, batch: Batch) -> Tensor:
        """Return (rows, modalities), True where a modality is present."""
        return torch.stack([batch.present[m] for m in self._label_generator.modalities], dim=1)


def _label_scores(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return scores (rows,) of labels or teachers in -1..1, and (rows,) where one exists."""
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
            f"{name} has {batch.inputs[name].shape[1]} steps, the student takes at most {limit}",
            hint="see config.source_steps",
        )
