"""The numbers of students that read words and hear or see besides: their encoder's, and what of.

Knows nothing of what a student makes of them; its own numbers are added by inheritance.

    HearingNumbers(layers=2, sources=("audio",)).encoder(30522)      # a BERT of two layers
"""

from dataclasses import asdict, dataclass
from typing import Any

from gen_msa.students.base import InputDims
from gen_msa.students.common import encoder

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
        return encoder.build_encoder(vocab_size, **{name: getattr(self, name) for name in names})

    def to_dict(self) -> dict[str, Any]:
        """All of them as JSON has them."""
        return {**asdict(self), "sources": list(self.sources)}
