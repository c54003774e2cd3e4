"""A MiniLM encoder (22 M) over (text, aspect), and one linear layer: the plain fine-tune.

    [CLS] text [SEP] aspect [SEP] ─► encoder ─► mean of all tokens, mean of the aspect's ─► 3 logits

It is no published system; what it is built from stands in `common/encoder`. Its weights come from
an installed package. Knows nothing of pictures.

    students["text"](Sizes(width={"text": 30522})).warm_up()
"""

from typing import Any

import torch
from torch import nn

from gen_msa.models.base import Batch, InputDims, Output, models
from gen_msa.models.layers import text_encoder


@models.register
class TextClassifier(nn.Module):  # type: ignore[misc]
    """Encoder and head. Each row is read alone: neighbours and padding change nothing."""

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
        """New weights, drawn from torch's random state. The defaults are MiniLM-L6's own."""
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
        """Logits; features `text` and `aspect`, each (rows, width)."""
        encoded = text_encoder.encode(self.encoder, batch)
        pooled = self.dropout(torch.cat([encoded.text, encoded.aspect], dim=1))
        return Output(self.head(pooled), features={"text": encoded.text, "aspect": encoded.aspect})

    def load_pretrained(self) -> str:
        """Take over the packaged encoder; the head stays new.

        Raises `UserError` when the package is missing or its shape is not this student's.
        """
        return text_encoder.load_pretrained(self.encoder)
