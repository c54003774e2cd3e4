"""A MiniLM encoder over (text, aspect), for students that read words: its layers, what it says, and
its packaged weights.

    [CLS] text [SEP] aspect [SEP] ─► encoder ─► mean of all tokens, mean of the aspect's

Wang et al. 2020 (MiniLM) and Reimers and Gurevych 2019 (mean pooling). Knows nothing of labels.

    heard = hear(new(30522), batch)         # heard.text, heard.aspect: (rows, 384)
"""

from typing import Any, NamedTuple

import torch

from gen_msa.errors import UserError
from gen_msa.students.base import Batch
from gen_msa.students.common import minilm

_UNUSED_PREFIXES = ("pooler.", "embeddings.position_ids")


class EncoderOutput(NamedTuple):
    """What an encoder makes of the words of a batch."""

    hidden_states: torch.Tensor
    """(rows, steps, width)."""
    text: torch.Tensor
    """(rows, width), of all tokens."""
    aspect: torch.Tensor
    """(rows, width), of the aspect's tokens; the text's where the post as a whole is meant."""


def build_encoder(
    vocab_size: int,
    *,
    layers: int = 6,
    width: int = 384,
    heads: int = 12,
    inner: int = 1536,
    positions: int = 512,
    dropout: float = 0.1,
) -> Any:
    """A BERT with new weights, drawn from torch's random state; the defaults are MiniLM-L6's."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=vocab_size,
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return BertModel(config, add_pooling_layer=False)


def encode(encoder: Any, batch: Batch) -> EncoderOutput:
    """Each row is read alone: neighbours and padding change nothing."""
    mask, aspect = batch.mask["text"], batch.mask["aspect"]
    hidden_states = encoder(
        input_ids=batch.inputs["text"], attention_mask=mask.long(), token_type_ids=_token_type_ids(batch)
    ).last_hidden_state
    text_mean = masked_mean(hidden_states, mask)
    # A post as a whole has no aspect tokens: it stands for itself.
    aspect_mean = torch.where(aspect.any(1, keepdim=True), masked_mean(hidden_states, aspect), text_mean)
    return EncoderOutput(hidden_states, text_mean, aspect_mean)


def load_pretrained(encoder: Any) -> str:
    """Take over the packaged weights; the name of their package.

    Raises `UserError` when the package is missing or its shape is not the encoder's.
    """
    from safetensors.torch import load_file

    tensors = load_file(minilm.weights_path())
    encoder_weights = {k: v for k, v in tensors.items() if not k.startswith(_UNUSED_PREFIXES)}
    try:
        encoder.load_state_dict(encoder_weights)
    except RuntimeError as e:
        raise UserError(
            f"MiniLM's weights do not fit this student: {str(e).splitlines()[0]}",
            hint="leave `numbers` as they are, or start from new weights with warm=false",
        ) from None
    return minilm.PACKAGE


def masked_mean(hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(rows, steps, width) -> (rows, width) over the steps marked; 0 where none is."""
    weight = mask.unsqueeze(-1).to(hidden_states.dtype)
    return (hidden_states * weight).sum(1) / weight.sum(1).clamp(min=1)


def _token_type_ids(batch: Batch) -> torch.Tensor:
    """0 up to the separator before the aspect, 1 from there on, as BERT was trained on pairs."""
    aspect = batch.mask["aspect"]
    return (aspect.cumsum(1) > 0).long() * batch.mask["text"]
