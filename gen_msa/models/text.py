"""MiniLM encoder (22 M parameters) over (text, aspect) with a linear head: plain fine-tuning.

    [CLS] text [SEP] aspect [SEP] ─► encoder ─► mean of all tokens, mean of the aspect's ─► 3 logits

A baseline, not a published system. Its pretrained weights come from an installed package.

    models["text"](InputDims(width={"text": 30522})).load_pretrained()
"""

from typing import Any

import torch
from torch import nn

from gen_msa.models.base import Batch, InputDims, Output, models
from gen_msa.models.layers import text_encoder


@models.register
class TextClassifier(nn.Module):  # type: ignore[misc]
    """Encoder and linear head. Neighbouring rows and padding change nothing."""

    modalities = ("text",)

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
    ) -> None:
        """Draw new weights from torch's random state; the defaults are those of MiniLM-L6.

        Args:
            input_dims: Vocabulary size in `width["text"]`.
            layers: Transformer layers.
            width: Hidden size.
            heads: Attention heads.
            inner: Inner size of the feed-forward layers.
            positions: Longest text in tokens.
            dropout: Dropout of the encoder and before the head.
        """
        super().__init__()
        self.input_dims = input_dims
        self.config: dict[str, Any] = {
            "layers": layers,
            "width": width,
            "heads": heads,
            "inner": inner,
            "positions": positions,
            "dropout": dropout,
        }
        self.encoder = text_encoder.build_encoder(input_dims.width["text"], **self.config)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width, input_dims.classes)

    def forward(self, batch: Batch) -> Output:
        """Classify a batch.

        Returns:
            Logits (rows, classes); features `text` and `aspect`, each (rows, width).
        """
        encoded = text_encoder.encode(self.encoder, batch)
        pooled = self.dropout(torch.cat([encoded.text, encoded.aspect], dim=1))
        return Output(self.head(pooled), features={"text": encoded.text, "aspect": encoded.aspect})

    def load_pretrained(self) -> str:
        """Load the packaged text encoder; all other weights stay new.

        Returns:
            Requirement of the package.

        Raises:
            UserError: The package is missing, or its shape is not this student's.
        """
        return text_encoder.load_pretrained(self.encoder)
