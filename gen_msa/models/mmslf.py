"""MMSLF: the student, and the backbone that it shares with its teacher.

    text ─► MiniLM ─► dim ─┬─► cross-modal encoder over audio ─┐
    audio ─► dim ──────────┤                                   ├─► 4 learned tokens ─► 3 logits
    video ─► dim ──────────┴─► cross-modal encoder over video ─┘

Zhang H., Zhang Y., Ying C., Tang X., Yu T., "MLLM-guided multimodal sentiment learning" (NeurIPS
2025). The student reads text, audio and video, never a context. Alone it is trained on labels;
distilled, also on the attention maps and fused tokens of `mmslf_teacher` (`losses.feature_l1`: the
paper's weights are 60 for each map and 8 for the fused tokens).

Differences from the paper: MiniLM (22 M) reads the text, not BERT-base; it predicts three classes,
not an intensity; a text may have 128 tokens, not 50, and is not padded to that; the aspect follows
the text; positions of a source count from its end, since here the last step belongs to the post
itself; a source stays the same in all layers, and projections of attention have no bias, which the
paper does not specify.

    models["mmslf"](InputDims(width={"text": 30522, "audio": 73, "video": 100}), frozen_text=True)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from gen_msa.errors import UserError
from gen_msa.models.base import Batch, InputDims, Output, models
from gen_msa.models.layers import text_encoder
from gen_msa.models.layers.attention import (
    AttentionOutput,
    CrossAttention,
    CrossLayer,
    LearnedTokenPooling,
)
from gen_msa.models.layers.text_encoder import AudioVideoTextConfig


@dataclass(frozen=True)
class MmslfConfig(AudioVideoTextConfig):
    """Hyperparameters of the student; the defaults are the paper's, where it states them."""

    frozen_text: bool = False
    """The text encoder is not trained and stays in evaluation mode."""

    dim: int = 64
    """Width of everything after the text encoder."""
    steps: int = 128
    """Longest text in tokens, equal to a recipe's default (the paper: 50)."""
    cross_layers: int = 1
    cross_heads: int = 4
    head_width: int = 32
    ffn_dim: int = 128
    """Inner width of the feed-forward layers."""
    fusion_dropout: float = 0.5
    """Dropout outside the encoder."""
    fused_layers: int = 2
    fused_heads: int = 8
    fused_tokens: int = 4


@dataclass(frozen=True)
class MmslfTeacherConfig(MmslfConfig):
    """Hyperparameters of the teacher: deeper, and with the layers that read the context."""

    cross_layers: int = 6
    fused_layers: int = 6
    context_layers: int = 2
    context_heads: int = 8
    attn_target: Literal["plain", "conditional"] = "plain"
    """Which attention map of the last layer is exposed for distillation.

    `plain`: as in the released code; `conditional`: as in the paper.
    """
    min_keep: float = 0.5
    """In training, a random share between this and 1 of each row's inputs is kept; 1: all."""
    unk_token_id: int = 100
    """Token id that replaces a masked word: `[UNK]`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attn_target not in ("plain", "conditional"):
            raise ValueError(f"attn_target is plain or conditional, not {self.attn_target!r}")


class CrossModalEncoder(nn.Module):  # type: ignore[misc]
    """Layers in which text attends to a source. Positions of a source count from its end."""

    def __init__(self, config: MmslfConfig, attention: Callable[[], CrossAttention]) -> None:
        """Draw new weights.

        Args:
            config: Hyperparameters.
            attention: Builds the attention of one layer.
        """
        super().__init__()
        self.text_positions = nn.Parameter(torch.randn(config.steps, config.dim) * 0.02)
        self.source_positions = nn.Parameter(torch.randn(config.source_steps, config.dim) * 0.02)
        self.layers = nn.ModuleList(
            CrossLayer(attention(), config.dim, config.ffn_dim, config.fusion_dropout)
            for _ in range(config.cross_layers)
        )

    def forward(
        self, text: Tensor, source: Tensor, mask: Tensor, *context: Tensor
    ) -> AttentionOutput:
        """Attend from text to a source; the returned maps are those of the last layer.

        Args:
            text: (rows, steps, dim).
            source: (rows, source steps, dim).
            mask: (rows, source steps), True for real steps.
            context: Further inputs of the attention of every layer.

        Returns:
            The output, (rows, steps, dim), and maps (rows, heads, steps, source steps).
        """
        x = text + self.text_positions[: text.shape[1]]
        source = source + self.source_positions[_positions_from_end(mask)]
        for layer in self.layers:
            output = layer(x, source, mask, *context)
            x = output.out
        return AttentionOutput(*output)


def _positions_from_end(mask: Tensor) -> Tensor:
    """Return 0 at the last real step of a row, 1 before it, whatever the padding."""
    length = mask.sum(1, keepdim=True)
    return (length - 1 - torch.arange(mask.shape[1], device=mask.device)).clamp(min=0)


class MmslfBackbone(nn.Module):  # type: ignore[misc]
    """All layers; student and teacher implement the forward pass."""

    def __init__(
        self,
        input_dims: InputDims,
        config: MmslfConfig,
        attention: type[CrossAttention] = CrossAttention,
    ) -> None:
        """Draw new weights from torch's random state.

        Args:
            input_dims: Sizes of text, audio and video.
            config: Hyperparameters.
            attention: Class of the attention over sources.

        Raises:
            ValueError: The data lacks a source that the config names.
        """
        config.check_inputs(input_dims)
        super().__init__()
        self.input_dims = input_dims
        self.config: Mapping[str, Any] = config.to_dict()
        self._config = config
        self.encoder = config.build_encoder(input_dims.width["text"])
        self.encoder.requires_grad_(not config.frozen_text)
        self.text_proj = nn.Linear(config.width, config.dim)
        self.modality_proj = nn.ModuleDict(
            {m: nn.Linear(input_dims.width[m], config.dim) for m in config.sources}
        )
        self.dropout = nn.Dropout(config.fusion_dropout)
        self.cross_modal_encoders = nn.ModuleDict(
            {
                m: CrossModalEncoder(
                    config,
                    lambda: attention(
                        config.dim, heads=config.cross_heads, head_width=config.head_width
                    ),
                )
                for m in config.sources
            }
        )
        self.fusion = LearnedTokenPooling(
            config.fused_tokens,
            config.dim,
            layers=config.fused_layers,
            heads=config.fused_heads,
            ffn_dim=config.ffn_dim,
            dropout=config.fusion_dropout,
        )
        self.head = nn.Linear(config.fused_tokens * config.dim, input_dims.classes)

    def train(self, mode: bool = True) -> Self:
        """Set the mode like any module; a frozen text encoder stays in evaluation mode."""
        super().train(mode)
        if self._config.frozen_text:
            self.encoder.eval()
        return self

    def load_pretrained(self) -> str:
        """Load the packaged text encoder; all other weights stay new.

        Returns:
            Requirement of the package.

        Raises:
            UserError: The package is missing, or its shape is not this student's.
        """
        return text_encoder.load_pretrained(self.encoder)

    def _encode_text(self, batch: Batch) -> text_encoder.EncoderOutput:
        """Encode text with `hidden_states` of width `dim`.

        Raises:
            UserError: A text has more tokens than `config.steps`.
        """
        _check_length("text", batch, self._config.steps, "max_length")
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._config.frozen_text):
            encoded = text_encoder.encode(self.encoder, batch)
        return encoded._replace(hidden_states=self.text_proj(encoded.hidden_states))

    def _project_source(self, batch: Batch, name: str) -> tuple[Tensor, Tensor]:
        """Project a source to (rows, steps, dim), and return its mask."""
        _check_length(name, batch, self._config.source_steps, "config.source_steps")
        return self.dropout(self.modality_proj[name](batch.inputs[name])), batch.mask[name]

    def _fuse(
        self,
        batch: Batch,
        text: Tensor,
        attended: Mapping[str, AttentionOutput],
        maps: Mapping[str, Tensor],
    ) -> Output:
        """Fuse the results of all sources and classify.

        Args:
            batch: The batch, for its text mask.
            text: Sentence embedding, (rows, width).
            attended: Source -> output of its cross-modal encoder.
            maps: Source -> attention map to expose; set to 0 at padding.
        """
        mask = batch.mask["text"]
        tokens = torch.cat([item.out for item in attended.values()], dim=1)
        fused = self.fusion(tokens, torch.cat([mask] * len(attended), dim=1))
        features = {f"attention.{m}": maps[m] * mask[:, None, :, None] for m in maps}
        logits = self.head(self.dropout(fused.flatten(1)))
        return Output(logits, {**features, "fused": fused, "text": text})


def _check_length(name: str, batch: Batch, limit: int, setting: str) -> None:
    if batch.inputs[name].shape[1] > limit:
        steps = batch.inputs[name].shape[1]
        raise UserError(
            f"{name} has {steps} steps, and the student takes at most {limit}",
            hint=f"see {setting}",
        )


@models.register
class Mmslf(MmslfBackbone):
    """Text attends to audio and to video; four tokens pool both. Rows are independent."""

    modalities = ("text", "audio", "video")

    def __init__(self, input_dims: InputDims, **config: Any) -> None:
        """Draw new weights from torch's random state.

        Args:
            input_dims: Sizes of text, audio and video.
            config: Fields of `MmslfConfig`.

        Raises:
            ValueError: The data lacks a source that the config names.
        """
        super().__init__(input_dims, MmslfConfig(**config))

    def forward(self, batch: Batch) -> Output:
        """Classify a batch.

        Returns:
            Logits (rows, classes); features `attention.audio`, `attention.video` (rows, heads, text
            steps, source steps), `fused` (rows, 4, dim) and `text` (rows, width).
        """
        encoded = self._encode_text(batch)
        attended = {
            m: self.cross_modal_encoders[m](encoded.hidden_states, *self._project_source(batch, m))
            for m in self.cross_modal_encoders
        }
        return self._fuse(
            batch, encoded.text, attended, {m: a.weights for m, a in attended.items()}
        )
