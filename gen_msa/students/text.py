"""A MiniLM encoder (22 M) over (text, aspect), and one linear layer: the plain fine-tune.

    [CLS] text [SEP] aspect [SEP] ─► encoder ─► mean of all tokens, mean of the aspect's ─► 3 logits

Wang et al. 2020 (MiniLM) and Reimers and Gurevych 2019 (mean pooling) are what it is built from; it
is no published system. Its weights come from an installed package. Knows nothing of pictures.

    students["text"](Sizes(width={"text": 30522})).warm_up()
"""

from typing import Any

import torch
from torch import nn

from gen_msa.errors import UserError
from gen_msa.students import Batch, Output, Sizes, students
from gen_msa.students.common import minilm

_NEVER_USED = ("pooler.", "embeddings.position_ids")


@students.register
class Text(nn.Module):  # type: ignore[misc]
    """Encoder and head. Each row is read alone: neighbours and padding change nothing."""

    reads = ("text",)

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
    ) -> None:
        """New weights, drawn from torch's random state. The defaults are MiniLM-L6's own."""
        from transformers import BertConfig, BertModel

        super().__init__()
        self.sizes = sizes
        self.numbers = {
            "layers": layers,
            "width": width,
            "heads": heads,
            "inner": inner,
            "positions": positions,
            "dropout": dropout,
        }
        shape = BertConfig(
            vocab_size=sizes.width["text"],
            num_hidden_layers=layers,
            hidden_size=width,
            num_attention_heads=heads,
            intermediate_size=inner,
            max_position_embeddings=positions,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
        self.encoder = BertModel(shape, add_pooling_layer=False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width, sizes.classes)

    def forward(self, batch: Batch) -> Output:
        """Logits; features `text` and `aspect`, each (rows, width)."""
        mask, aspect = batch.mask["text"], batch.mask["aspect"]
        steps = self.encoder(
            input_ids=batch.x["text"], attention_mask=mask.long(), token_type_ids=_kinds(batch)
        ).last_hidden_state
        text = _mean(steps, mask)
        # A post as a whole has no aspect tokens: it stands for itself.
        about = torch.where(aspect.any(1, keepdim=True), _mean(steps, aspect), text)
        both = self.dropout(torch.cat([text, about], dim=1))
        return Output(self.head(both), features={"text": text, "aspect": about})

    def warm_up(self) -> str:
        """Take over the packaged encoder; the head stays new.

        Raises `UserError` when the package is missing or its shape is not this student's.
        """
        from safetensors.torch import load_file

        found = load_file(minilm.weights())
        own: dict[str, Any] = {k: v for k, v in found.items() if not k.startswith(_NEVER_USED)}
        try:
            self.encoder.load_state_dict(own)
        except RuntimeError as e:
            raise UserError(
                f"MiniLM's weights do not fit this student: {str(e).splitlines()[0]}",
                mend="leave `numbers` as they are, or start from new weights with warm=false",
            ) from None
        return minilm.PACKAGE


def _kinds(batch: Batch) -> torch.Tensor:
    """0 up to the separator before the aspect, 1 from there on, as BERT was trained on pairs."""
    aspect = batch.mask["aspect"]
    return (aspect.cumsum(1) > 0).long() * batch.mask["text"]


def _mean(steps: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(rows, steps, width) -> (rows, width) over the steps marked; 0 where none is."""
    weight = mask.unsqueeze(-1).to(steps.dtype)
    return (steps * weight).sum(1) / weight.sum(1).clamp(min=1)
