"""A MiniLM encoder (22 M) over (text, aspect) that may look at the picture, and may look away.

    text, aspect ─► encoder ─► mean of all tokens, mean of the aspect's ─┬─► 3 logits ──────────┐
                                                       asks ▼            ▼                     +
    picture ─► frozen tower ─► steps ─► projected ─► attention ─► gate (0..1) x 3 logits ──────┘

The gate is one number a row, decided by text and picture together; without a picture it is 0, and
what is left is exactly the text's own logits. It is no published system: attention of words over a
picture's regions and a gate on what is seen are in many (Yu and Jiang 2019, TomBERT; Arevalo et al.
2017, gated units), with other encoders. Knows nothing of files; `common/inputs` does.

    students["text_picture"](Sizes(width={"text": 30522, "picture": 1280})).warm_up()
"""

from typing import Any

import torch
from torch import nn

from gen_msa.models.base import Batch, InputDims, Output, models
from gen_msa.models.layers import text_encoder

_GATE_BIAS_INIT = -1.0
"""Bias of the gate: a new student listens a little more to words than to what it sees."""


@models.register
class TextImageClassifier(nn.Module):  # type: ignore[misc]
    """Encoder, projector, attention, gate and two heads. Neighbours and padding change nothing."""

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
        """New weights, drawn from torch's random state; MiniLM-L6's own numbers by default.

        `picture_width`: of the projected steps; `hidden_pictures`: the share of rows whose picture
        is hidden in training, so that the text learns to stand alone. Raises `ValueError` for data
        without pictures.
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
        """Logits; features `text` and `aspect`, each (rows, width), and `picture`, `gate`."""
        encoded = text_encoder.encode(self.encoder, batch)
        pooled = self.dropout(torch.cat([encoded.text, encoded.aspect], dim=1))
        image, gate = self.image_attention(pooled, batch.inputs["image"], batch.mask["image"])
        gate = gate * self._visible_images(batch.present["image"]).to(gate.dtype)
        logits = self.head(pooled) + gate.unsqueeze(1) * self.image_head(image)
        features = {"text": encoded.text, "aspect": encoded.aspect, "image": image, "gate": gate}
        return Output(logits, features=features)

    def load_pretrained(self) -> str:
        """Take over the packaged encoder; all else stays new.

        Raises `UserError` when the package is missing or its shape is not this student's.
        """
        return text_encoder.load_pretrained(self.encoder)

    def _visible_images(self, present: torch.Tensor) -> torch.Tensor:
        """Whose picture is there, and not hidden."""
        if not self.training or not self.image_dropout:
            return present
        return present & (torch.rand(present.shape, device=present.device) >= self.image_dropout)


class GatedImageAttention(nn.Module):  # type: ignore[misc]
    """What a question finds among the steps of a picture, and how much it is to count."""

    def __init__(
        self, image_dim: int, query_dim: int, width: int, heads: int, dropout: float
    ) -> None:
        """`steps`, `question`: their widths; `width`: that of what is found."""
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
        self, query: torch.Tensor, regions_in: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(rows, question), (rows, n, steps), (rows, n) -> (rows, width) and gates (rows,)."""
        regions = self.project(self.dropout(regions_in))
        projected = self.query_proj(query)
        # To attend to nothing is not a number everywhere (an exported graph's softmax gives NaN): a
        # row without a step attends to its padding, and its gate is shut.
        ignored = ~mask & mask.any(1, keepdim=True)
        attended, _ = self.attention(
            projected.unsqueeze(1), regions, regions, key_padding_mask=ignored, need_weights=False
        )
        output = self.dropout(self.output_mlp(attended.squeeze(1) + projected))
        gate = torch.sigmoid(self.gate(torch.cat([projected, attended.squeeze(1)], dim=1)))
        return output, gate.squeeze(1)
