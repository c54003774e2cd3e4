"""MiniLM encoder over (text, aspect): layers, pooling, packaged weights, common hyperparameters.

    [CLS] text [SEP] aspect [SEP] ─► encoder ─► mean of all tokens, mean of the aspect's

Wang et al. 2020 (MiniLM) and Reimers and Gurevych 2019 (mean pooling).

    encoded = encode(build_encoder(30522), batch)      # encoded.text, encoded.aspect: (rows, 384)
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch

from gen_msa.encoders.text import minilm
from gen_msa.errors import user_errors
from gen_msa.models.base import Batch, InputDims

SOURCES = ("audio", "video")
_UNUSED_PREFIXES = ("pooler.", "embeddings.position_ids")


class EncoderOutput(NamedTuple):
    """Output of the text encoder for a batch."""

    hidden_states: torch.Tensor
    """(rows, steps, width)."""
    text: torch.Tensor
    """(rows, width), mean over all tokens."""
    aspect: torch.Tensor
    """(rows, width), mean over the aspect's tokens; that of the text for an overall opinion."""


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
    """Build a BERT with new weights from torch's random state; defaults are MiniLM-L6's.

    Args:
        vocab_size: Size of the vocabulary.
        layers: Transformer layers.
        width: Hidden size.
        heads: Attention heads.
        inner: Inner size of the feed-forward layers.
        positions: Longest text in tokens.
        dropout: Dropout of hidden states and attention.

    Returns:
        A `transformers.BertModel` without pooling layer, in training mode.
    """
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
    """Encode the text and aspect of each row; neighbours and padding change nothing.

    Args:
        encoder: Encoder of `build_encoder`.
        batch: Batch with `text` inputs and an `aspect` mask.

    Returns:
        The hidden states and their means over the text and over the aspect.
    """
    mask, aspect = batch.mask["text"], batch.mask["aspect"]
    hidden_states = encoder(
        input_ids=batch.inputs["text"],
        attention_mask=mask.long(),
        token_type_ids=_token_type_ids(batch),
    ).last_hidden_state
    text_mean = masked_mean(hidden_states, mask)
    # An overall opinion has no aspect tokens and uses the mean of the text.
    aspect_mean = torch.where(
        aspect.any(1, keepdim=True), masked_mean(hidden_states, aspect), text_mean
    )
    return EncoderOutput(hidden_states, text_mean, aspect_mean)


def load_pretrained(encoder: Any) -> str:
    """Load the packaged weights into an encoder.

    Returns:
        Requirement of the package.

    Raises:
        UserError: The package is missing, or its shape is not the encoder's.
    """
    from safetensors.torch import load_file

    tensors = load_file(minilm.weights_path())
    encoder_weights = {k: v for k, v in tensors.items() if not k.startswith(_UNUSED_PREFIXES)}
    hint = "leave `config` as it is, or start from new weights with pretrained=false"
    with user_errors("MiniLM's weights", "do not fit this student", hint=hint):
        encoder.load_state_dict(encoder_weights)
    return minilm.PACKAGE


def masked_mean(hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average the marked steps of each row; 0 where none is marked.

    Args:
        hidden_states: (rows, steps, width).
        mask: (rows, steps), True for steps to average.

    Returns:
        (rows, width).
    """
    weight = mask.unsqueeze(-1).to(hidden_states.dtype)
    return (hidden_states * weight).sum(1) / weight.sum(1).clamp(min=1)


def _token_type_ids(batch: Batch) -> torch.Tensor:
    """Return 0 before the aspect and 1 from it on, as BERT was trained on pairs."""
    aspect = batch.mask["aspect"]
    return (aspect.cumsum(1) > 0).long() * batch.mask["text"]


@dataclass(frozen=True)
class AudioVideoTextConfig:
    """Hyperparameters of students of text, audio and video; text defaults are MiniLM-L6's."""

    layers: int = 6
    """Layers of the text encoder; so are `width`, `heads`, `inner`, `positions`, `dropout`."""
    width: int = 384
    heads: int = 12
    inner: int = 1536
    positions: int = 512
    dropout: float = 0.1

    sources: tuple[str, ...] = SOURCES
    """Modalities that are used beside the text, even if the data has more."""
    source_steps: int = 512
    """Longest audio or video in steps."""

    def __post_init__(self) -> None:
        if not self.sources or not set(self.sources) <= set(SOURCES):
            raise ValueError(f"sources are one or both of {', '.join(SOURCES)}")

    def check_inputs(self, input_dims: InputDims) -> None:
        """Check that the data has every source.

        Raises:
            ValueError: A source is missing.
        """
        if missing := [m for m in self.sources if m not in input_dims.width]:
            raise ValueError(f"no post of the data has {' or '.join(missing)}")

    def build_encoder(self, vocab_size: int) -> Any:
        """Build the text encoder with new weights."""
        names = ("layers", "width", "heads", "inner", "positions", "dropout")
        return build_encoder(vocab_size, **{name: getattr(self, name) for name in names})

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain JSON values."""
        return {**asdict(self), "sources": list(self.sources)}
