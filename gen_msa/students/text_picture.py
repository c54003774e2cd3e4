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

from gen_msa.students.base import Batch, Output, Sizes, students
from gen_msa.students.common import encoder

_LOOKS_AT_FIRST = -1.0
"""Bias of the gate: a new student listens a little more to words than to what it sees."""


@students.register
class TextPicture(nn.Module):  # type: ignore[misc]
    """Encoder, projector, attention, gate and two heads. Neighbours and padding change nothing."""

    reads = ("text", "picture")

    def __init__(
        self,
        sizes: Sizes,
        *,
        layers: int = 6,
        width: int = 384,
        heads: int = 12,
        inner: int = 1536,
        positions: int = 512,
        dropout: float = 0.1,
        picture_width: int = 128,
        picture_heads: int = 4,
        picture_dropout: float = 0.3,
        hidden_pictures: float = 0.15,
    ) -> None:
        """New weights, drawn from torch's random state; MiniLM-L6's own numbers by default.

        `picture_width`: of the projected steps; `hidden_pictures`: the share of rows whose picture
        is hidden in training, so that the text learns to stand alone. Raises `ValueError` for data
        without pictures.
        """
        if "picture" not in sizes.width:
            raise ValueError("no post of the data has a picture; use the student `text`")
        super().__init__()
        self.sizes = sizes
        words: dict[str, Any] = {"layers": layers, "width": width, "heads": heads, "inner": inner}
        words |= {"positions": positions, "dropout": dropout}
        sight = {"picture_width": picture_width, "picture_heads": picture_heads}
        hiding = {"picture_dropout": picture_dropout, "hidden_pictures": hidden_pictures}
        self.numbers: dict[str, Any] = {**words, **sight, **hiding}
        self.encoder = encoder.new(sizes.width["text"], **words)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width, sizes.classes)
        self.hidden = hidden_pictures
        self.sight = Sight(
            sizes.width["picture"], 2 * width, picture_width, picture_heads, picture_dropout
        )
        self.sight_head = nn.Linear(picture_width, sizes.classes)

    def forward(self, batch: Batch) -> Output:
        """Logits; features `text` and `aspect`, each (rows, width), and `picture`, `gate`."""
        heard = encoder.hear(self.encoder, batch)
        both = self.dropout(torch.cat([heard.text, heard.aspect], dim=1))
        seen, gate = self.sight(both, batch.x["picture"], batch.mask["picture"])
        gate = gate * self._shown(batch.present["picture"]).to(gate.dtype)
        logits = self.head(both) + gate.unsqueeze(1) * self.sight_head(seen)
        features = {"text": heard.text, "aspect": heard.aspect, "picture": seen, "gate": gate}
        return Output(logits, features=features)

    def warm_up(self) -> str:
        """Take over the packaged encoder; all else stays new.

        Raises `UserError` when the package is missing or its shape is not this student's.
        """
        return encoder.warm_up(self.encoder)

    def _shown(self, present: torch.Tensor) -> torch.Tensor:
        """Whose picture is there, and not hidden."""
        if not self.training or not self.hidden:
            return present
        return present & (torch.rand(present.shape, device=present.device) >= self.hidden)


class Sight(nn.Module):  # type: ignore[misc]
    """What a question finds among the steps of a picture, and how much it is to count."""

    def __init__(self, steps: int, question: int, width: int, heads: int, dropout: float) -> None:
        """`steps`, `question`: their widths; `width`: that of what is found."""
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Sequential(nn.LayerNorm(steps), nn.Linear(steps, width), nn.GELU())
        self.ask = nn.Linear(question, width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.found = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.gate = nn.Linear(2 * width, 1)
        nn.init.constant_(self.gate.bias, _LOOKS_AT_FIRST)

    def forward(
        self, question: torch.Tensor, steps: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(rows, question), (rows, n, steps), (rows, n) -> (rows, width) and gates (rows,)."""
        regions = self.project(self.dropout(steps))
        asked = self.ask(question)
        # To attend to nothing is not a number everywhere (an exported graph's softmax gives NaN): a
        # row without a step attends to its padding, and its gate is shut.
        hidden = ~mask & mask.any(1, keepdim=True)
        seen, _ = self.attention(
            asked.unsqueeze(1), regions, regions, key_padding_mask=hidden, need_weights=False
        )
        found = self.dropout(self.found(seen.squeeze(1) + asked))
        gate = torch.sigmoid(self.gate(torch.cat([asked, seen.squeeze(1)], dim=1)))
        return found, gate.squeeze(1)
