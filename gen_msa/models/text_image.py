"""MiniLM encoder (22 M parameters) over (text, aspect) with gated attention over the image.

    text, aspect ─► encoder ─► mean of all tokens, mean of the aspect's ─┬─► 3 logits ──────────┐
                                                      query ▼            ▼                     +
    image ─► frozen encoder ─► steps ─► projection ─► attention ─► gate (0..1) x 3 logits ─────┘

The gate is one number per row, computed from text and image; without an image it is 0, and the
logits are exactly those of the text. Not a published system: attention of text over image regions
and gated fusion are used in many (Yu and Jiang 2019, TomBERT; Arevalo et al. 2017, gated multimodal
units), with other encoders.

    models["text_image"](InputDims(width={"text": 30522, "image": 1280})).load_pretrained()
"""

from typing import Any

import torch
from torch import nn

from gen_msa.models.base import Batch, InputDims, Output, models
from gen_msa.models.layers import text_encoder

_GATE_BIAS_INIT = -1.0
"""Initial bias of the gate: a new student relies on text slightly more than on images."""


@models.register
class TextImageClassifier(nn.Module):  # type: ignore[misc]
    """Encoder, projection, attention, gate and two heads.

    Neighbouring rows and padding change nothing.
    """

    modalities = ("text", "image")

    def __init__(
        self,
        input_dims: InputDims,
        *,
        layers: int = 6,
        width: int = 384,
        heads: int = 12,
        inner: int = 1536,
        positions: int = 512,
        dropout: float = 0.1,
        image_width: int = 128,
        image_heads: int = 4,
        image_feature_dropout: float = 0.3,
        image_dropout: float = 0.15,
    ) -> None:
        """Draw new weights from torch's random state; the text defaults are those of MiniLM-L6.

        Args:
            input_dims: Vocabulary size in `width["text"]`, feature width in `width["image"]`.
            layers: Transformer layers of the text encoder.
            width: Hidden size of the text encoder.
            heads: Attention heads of the text encoder.
            inner: Inner size of its feed-forward layers.
            positions: Longest text in tokens.
            dropout: Dropout of the text encoder and before its head.
            image_width: Width of the projected image steps.
            image_heads: Attention heads over image steps.
            image_feature_dropout: Dropout of the image features.
            image_dropout: Share of rows whose image is hidden in training, so that the text learns
                to suffice.

        Raises:
            ValueError: The data has no images.
        """
        if "image" not in input_dims.width:
            raise ValueError("no post of the data has an image; use the student `text`")
        super().__init__()
        self.input_dims = input_dims
        encoder_config: dict[str, Any] = {
            "layers": layers,
            "width": width,
            "heads": heads,
            "inner": inner,
        }
        encoder_config |= {"positions": positions, "dropout": dropout}
        attention_config = {"image_width": image_width, "image_heads": image_heads}
        dropout_config = {
            "image_feature_dropout": image_feature_dropout,
            "image_dropout": image_dropout,
        }
        self.config: dict[str, Any] = {**encoder_config, **attention_config, **dropout_config}
        self.encoder = text_encoder.build_encoder(input_dims.width["text"], **encoder_config)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width, input_dims.classes)
        self.image_dropout = image_dropout
        self.image_attention = GatedImageAttention(
            input_dims.width["image"], 2 * width, image_width, image_heads, image_feature_dropout
        )
        self.image_head = nn.Linear(image_width, input_dims.classes)

    def forward(self, batch: Batch) -> Output:
        """Classify a batch.

        Returns:
            Logits (rows, classes); features `text` and `aspect` (rows, width), `image` (rows,
            image_width) and `gate` (rows,).
        """
        encoded = text_encoder.encode(self.encoder, batch)
        pooled = self.dropout(torch.cat([encoded.text, encoded.aspect], dim=1))
        image, gate = self.image_attention(pooled, batch.inputs["image"], batch.mask["image"])
        gate = gate * self._visible_images(batch.present["image"]).to(gate.dtype)
        logits = self.head(pooled) + gate.unsqueeze(1) * self.image_head(image)
        features = {"text": encoded.text, "aspect": encoded.aspect, "image": image, "gate": gate}
        return Output(logits, features=features)

    def load_pretrained(self) -> str:
        """Load the packaged text encoder; all other weights stay new.

        Returns:
            Requirement of the package.

        Raises:
            UserError: The package is missing, or its shape is not this student's.
        """
        return text_encoder.load_pretrained(self.encoder)

    def _visible_images(self, present: torch.Tensor) -> torch.Tensor:
        """Return (rows,) True where an image is present and not dropped."""
        if not self.training or not self.image_dropout:
            return present
        return present & (torch.rand(present.shape, device=present.device) >= self.image_dropout)


class GatedImageAttention(nn.Module):  # type: ignore[misc]
    """Attention of a query over image steps, and the gate of its result."""

    def __init__(
        self, image_dim: int, query_dim: int, width: int, heads: int, dropout: float
    ) -> None:
        """Draw new weights.

        Args:
            image_dim: Width of an image step.
            query_dim: Width of the query.
            width: Width of the result.
            heads: Attention heads.
            dropout: Dropout of image features and result.
        """
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Sequential(
            nn.LayerNorm(image_dim), nn.Linear(image_dim, width), nn.GELU()
        )
        self.query_proj = nn.Linear(query_dim, width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.output_mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.gate = nn.Linear(2 * width, 1)
        nn.init.constant_(self.gate.bias, _GATE_BIAS_INIT)

    def forward(
        self, query: torch.Tensor, image_steps: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend to the steps of each image.

        Args:
            query: (rows, query_dim).
            image_steps: Image features, (rows, steps, image_dim).
            mask: (rows, steps), True for real steps.

        Returns:
            Result (rows, width) and gates (rows,) in 0..1.
        """
        regions = self.project(self.dropout(image_steps))
        projected = self.query_proj(query)
        # Attention over no step gives NaN in some runtimes (e.g. an exported graph), so a row
        # without steps attends to its padding, and its gate is set to 0.
        ignored = ~mask & mask.any(1, keepdim=True)
        attended, _ = self.attention(
            projected.unsqueeze(1), regions, regions, key_padding_mask=ignored, need_weights=False
        )
        output = self.dropout(self.output_mlp(attended.squeeze(1) + projected))
        gate = torch.sigmoid(self.gate(torch.cat([projected, attended.squeeze(1)], dim=1)))
        return output, gate.squeeze(1)
