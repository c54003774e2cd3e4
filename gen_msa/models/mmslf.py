"""What MMSLF's student and teacher share: words, aligners, fusion, head. Not a student itself.

    text ─► MiniLM ─► d ─┬─► aligner over audio ─┐
    audio ─► d ──────────┤                       ├─► 4 learned tokens + both ─► flat ─► 3 logits
    video ─► d ──────────┴─► aligner over video ─┘

Zhang et al. 2025, "MLLM-guided multimodal sentiment learning" (NeurIPS). Knows nothing of contexts.

    class Mmslf(Backbone): ...      # gives the aligners their attention
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
    """The student's own numbers; defaults are the paper's, where it prints them."""

    frozen_text: bool = False
    """The encoder is not trained, and is never in training mode."""

    dim: int = 64
    """Width of everything after the encoder."""
    steps: int = 128
    """Most tokens of a text, as many as a recipe allows by default (the paper: 50)."""
    cross_layers: int = 1
    cross_heads: int = 4
    head_width: int = 32
    ffn_dim: int = 128
    """Inner width of feed-forward parts."""
    fusion_dropout: float = 0.5
    """Dropout outside the encoder."""
    fused_layers: int = 2
    fused_heads: int = 8
    fused_tokens: int = 4


@dataclass(frozen=True)
class MmslfTeacherConfig(MmslfConfig):
    """The teacher's: deeper, and with what reads the context."""

    cross_layers: int = 6
    fused_layers: int = 6
    context_layers: int = 2
    context_heads: int = 8
    attn_target: Literal["plain", "conditional"] = "plain"
    """Which map of the last layer is shown to a student: the released code's, or the paper's."""
    min_keep: float = 0.5
    """In training, of each row a share between this and 1 of its inputs is kept; 1: all."""
    unk_token_id: int = 100
    """The token that stands for a word that is not kept: `[UNK]`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attn_target not in ("plain", "conditional"):
            raise ValueError(f"attn_target is plain or conditional, not {self.attn_target!r}")


class CrossModalEncoder(nn.Module):  # type: ignore[misc]
    """Layers in which a text looks at a source. Steps of a source are counted from its end."""

    def __init__(self, config: MmslfConfig, attention: Callable[[], CrossAttention]) -> None:
        """`attention` makes that of a layer."""
        super().__init__()
        n = config
        self.text_positions = nn.Parameter(torch.randn(n.steps, n.dim) * 0.02)
        self.source_positions = nn.Parameter(torch.randn(n.source_steps, n.dim) * 0.02)
        self.layers = nn.ModuleList(
            CrossLayer(attention(), n.dim, n.ffn_dim, n.fusion_dropout)
            for _ in range(n.cross_layers)
        )

    def forward(
        self, text: Tensor, source: Tensor, mask: Tensor, *context: Tensor
    ) -> AttentionOutput:
        """(rows, steps, d), (rows, sources, d), (rows, sources); maps are those of the last layer.

        `steering` goes to the attention of every layer.
        """
        x = text + self.text_positions[: text.shape[1]]
        source = source + self.source_positions[_positions_from_end(mask)]
        for layer in self.layers:
            output = layer(x, source, mask, *context)
            x = output.out
        return AttentionOutput(*output)


def _positions_from_end(mask: Tensor) -> Tensor:
    """0 at the last real step of each row, 1 at the one before; the same however it is padded."""
    length = mask.sum(1, keepdim=True)
    return (length - 1 - torch.arange(mask.shape[1], device=mask.device)).clamp(min=0)


class MmslfBackbone(nn.Module):  # type: ignore[misc]
    """All but the forward pass, which student and teacher write each for themselves."""

    def __init__(
        self,
        input_dims: InputDims,
        config: MmslfConfig,
        attention: type[CrossAttention] = CrossAttention,
    ) -> None:
        """New weights. Raises `ValueError` for data without audio or video."""
        config.check_inputs(input_dims)
        super().__init__()
        self.input_dims, n = input_dims, config
        self.config: Mapping[str, Any] = config.to_dict()
        self._config = n
        self.encoder = n.build_encoder(input_dims.width["text"])
        self.encoder.requires_grad_(not n.frozen_text)
        self.text_proj = nn.Linear(n.width, n.dim)
        self.modality_proj = nn.ModuleDict(
            {m: nn.Linear(input_dims.width[m], n.dim) for m in n.sources}
        )
        self.dropout = nn.Dropout(n.fusion_dropout)
        self.cross_modal_encoders = nn.ModuleDict(
            {
                m: CrossModalEncoder(
                    n, lambda: attention(n.dim, heads=n.cross_heads, head_width=n.head_width)
                )
                for m in n.sources
            }
        )
        self.fusion = LearnedTokenPooling(
            n.fused_tokens,
            n.dim,
            layers=n.fused_layers,
            heads=n.fused_heads,
            ffn_dim=n.ffn_dim,
            dropout=n.fusion_dropout,
        )
        self.head = nn.Linear(n.fused_tokens * n.dim, input_dims.classes)

    def train(self, mode: bool = True) -> Self:
        """As every module; a frozen encoder stays in eval mode."""
        super().train(mode)
        if self._config.frozen_text:
            self.encoder.eval()
        return self

    def load_pretrained(self) -> str:
        """Take over the packaged encoder; all else stays new.

        Raises `UserError` when the package is missing or its shape is not this student's.
        """
        return text_encoder.load_pretrained(self.encoder)

    def _encode_text(self, batch: Batch) -> text_encoder.EncoderOutput:
        """`steps` are d wide. Raises `UserError` for a text of more tokens than `numbers.steps`."""
        _check_length("text", batch, self._config.steps, "max_length")
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._config.frozen_text):
            encoded = text_encoder.encode(self.encoder, batch)
        return encoded._replace(hidden_states=self.text_proj(encoded.hidden_states))

    def _project_source(self, batch: Batch, name: str) -> tuple[Tensor, Tensor]:
        """(rows, steps, d), and where there is something."""
        _check_length(name, batch, self._config.source_steps, "config.source_steps")
        return self.dropout(self.modality_proj[name](batch.inputs[name])), batch.mask[name]

    def _fuse(
        self,
        batch: Batch,
        text: Tensor,
        attended: Mapping[str, AttentionOutput],
        maps: Mapping[str, Tensor],
    ) -> Output:
        """Fuse what was found in each source. Maps are 0 at padding, of text or of source.

        `text`: (rows, `width`), what the encoder made of it as a whole.
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
            f"{name} of {steps} steps, and the student knows {limit}", hint=f"see {setting}"
        )


# MMSLF's student: text, audio and video, and no context, ever. It is what is used.


@models.register
class Mmslf(MmslfBackbone):
    """Text looks at audio and at video; four tokens gather both. Each row is read alone."""

    modalities = ("text", "audio", "video")

    def __init__(self, input_dims: InputDims, **config: Any) -> None:
        """New weights, drawn from torch's random state; `numbers` are those of `Numbers`."""
        super().__init__(input_dims, MmslfConfig(**config))

    def forward(self, batch: Batch) -> Output:
        """Logits; features `attention.audio`, `attention.video`, `fused` and `text`.

        A map is (rows, heads, text steps, source steps), fused tokens (rows, 4, d).
        """
        encoded = self._encode_text(batch)
        attended = {
            m: self.cross_modal_encoders[m](encoded.hidden_states, *self._project_source(batch, m))
            for m in self.cross_modal_encoders
        }
        return self._fuse(batch, encoded.text, attended, {m: a.weights for m, a in attended.items()})
