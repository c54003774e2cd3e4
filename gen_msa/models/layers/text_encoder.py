"""A MiniLM encoder over (text, aspect), for students that read words: its layers, what it says, and
its packaged weights.

    [CLS] text [SEP] aspect [SEP] ─► encoder ─► mean of all tokens, mean of the aspect's

Wang et al. 2020 (MiniLM) and Reimers and Gurevych 2019 (mean pooling). Knows nothing of labels.

    heard = hear(new(30522), batch)         # heard.text, heard.aspect: (rows, 384)
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch

from gen_msa.encoders.text import minilm
from gen_msa.errors import UserError
from gen_msa.models.base import Batch, InputDims

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
        input_ids=batch.inputs["text"],
        attention_mask=mask.long(),
        token_type_ids=_token_type_ids(batch),
    ).last_hidden_state
    text_mean = masked_mean(hidden_states, mask)
    # A post as a whole has no aspect tokens: it stands for itself.
    aspect_mean = torch.where(
        aspect.any(1, keepdim=True), masked_mean(hidden_states, aspect), text_mean
    )
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
            hint="leave `config` as it is, or start from new weights with pretrained=false",
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


# The numbers of students that read words and hear or see besides: their encoder's, and what of.

SOURCES = ("audio", "video")


@dataclass(frozen=True)
class AudioVideoTextConfig:
    """Defaults are MiniLM-L6's."""

    layers: int = 6
    """Of the text's encoder, as are `width`, `heads`, `inner`, `positions` and `dropout`."""
    width: int = 384
    heads: int = 12
    inner: int = 1536
    positions: int = 512
    dropout: float = 0.1

    sources: tuple[str, ...] = SOURCES
    """What is heard and seen beside the text; one that is left out is not, though it be there."""
    source_steps: int = 512
    """Most steps of audio and of video."""

    def __post_init__(self) -> None:
        if not self.sources or not set(self.sources) <= set(SOURCES):
            raise ValueError(f"sources are one or both of {', '.join(SOURCES)}")

    def check_inputs(self, input_dims: InputDims) -> None:
        """Raise `ValueError` for data without a source that is to be heard or seen."""
        if missing := [m for m in self.sources if m not in input_dims.width]:
            raise ValueError(f"no post of the data has {' or '.join(missing)}")

    def build_encoder(self, vocab_size: int) -> Any:
        """The text's encoder, with new weights."""
        names = ("layers", "width", "heads", "inner", "positions", "dropout")
        return build_encoder(vocab_size, **{name: getattr(self, name) for name in names})

    def to_dict(self) -> dict[str, Any]:
        """All of them as JSON has them."""
        return {**asdict(self), "sources": list(self.sources)}
