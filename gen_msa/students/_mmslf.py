"""What MMSLF's student and teacher share: words, aligners, fusion, head. Not a student itself.

    text ─► MiniLM ─► d ─┬─► aligner over audio ─┐
    audio ─► d ──────────┤                       ├─► 4 learned tokens + both ─► flat ─► 3 logits
    video ─► d ──────────┴─► aligner over video ─┘

Zhang et al. 2025, "MLLM-guided multimodal sentiment learning" (NeurIPS). Knows nothing of contexts.

    class Mmslf(Backbone): ...      # gives the aligners their attention
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from gen_msa.errors import UserError
from gen_msa.students.base import Batch, Output, Sizes
from gen_msa.students.common import encoder
from gen_msa.students.common.attending import CrossAttention, CrossLayer, Leading, Seen
from gen_msa.students.common.numbers import HearingNumbers


@dataclass(frozen=True)
class Numbers(HearingNumbers):
    """The student's own numbers; defaults are the paper's, where it prints them."""

    frozen_text: bool = False
    """The encoder is not trained, and is never in training mode."""

    d: int = 64
    """Width of everything after the encoder."""
    steps: int = 128
    """Most tokens of a text, as many as a recipe allows by default (the paper: 50)."""
    aligned_layers: int = 1
    aligned_heads: int = 4
    head_width: int = 32
    feed: int = 128
    """Inner width of feed-forward parts."""
    drop: float = 0.5
    """Dropout outside the encoder."""
    fused_layers: int = 2
    fused_heads: int = 8
    fused_tokens: int = 4


@dataclass(frozen=True)
class TeacherNumbers(Numbers):
    """The teacher's: deeper, and with what reads the context."""

    aligned_layers: int = 6
    fused_layers: int = 6
    context_layers: int = 2
    context_heads: int = 8
    attn_target: Literal["plain", "conditional"] = "plain"
    """Which map of the last layer is shown to a student: the released code's, or the paper's."""
    least_kept: float = 0.5
    """In training, of each row a share between this and 1 of its inputs is kept; 1: all."""
    unknown: int = 100
    """The token that stands for a word that is not kept: `[UNK]`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attn_target not in ("plain", "conditional"):
            raise ValueError(f"attn_target is plain or conditional, not {self.attn_target!r}")


class Aligner(nn.Module):  # type: ignore[misc]
    """Layers in which a text looks at a source. Steps of a source are counted from its end."""

    def __init__(self, numbers: Numbers, attention: Callable[[], CrossAttention]) -> None:
        """`attention` makes that of a layer."""
        super().__init__()
        n = numbers
        self.text_places = nn.Parameter(torch.randn(n.steps, n.d) * 0.02)
        self.source_places = nn.Parameter(torch.randn(n.source_steps, n.d) * 0.02)
        self.layers = nn.ModuleList(
            CrossLayer(attention(), n.d, n.feed, n.drop) for _ in range(n.aligned_layers)
        )

    def forward(self, text: Tensor, source: Tensor, mask: Tensor, *steering: Tensor) -> Seen:
        """(rows, steps, d), (rows, sources, d), (rows, sources); maps are those of the last layer.

        `steering` goes to the attention of every layer.
        """
        x = text + self.text_places[: text.shape[1]]
        source = source + self.source_places[_from_the_end(mask)]
        for layer in self.layers:
            seen = layer(x, source, mask, *steering)
            x = seen.out
        return Seen(*seen)


def _from_the_end(mask: Tensor) -> Tensor:
    """0 at the last real step of each row, 1 at the one before; the same however it is padded."""
    length = mask.sum(1, keepdim=True)
    return (length - 1 - torch.arange(mask.shape[1], device=mask.device)).clamp(min=0)


class Backbone(nn.Module):  # type: ignore[misc]
    """All but the forward pass, which student and teacher write each for themselves."""

    def __init__(
        self, sizes: Sizes, numbers: Numbers, attention: type[CrossAttention] = CrossAttention
    ) -> None:
        """New weights. Raises `ValueError` for data without audio or video."""
        numbers.check(sizes)
        super().__init__()
        self.sizes, n = sizes, numbers
        self.numbers: Mapping[str, Any] = numbers.plain()
        self._n = n
        self.encoder = n.encoder(sizes.width["text"])
        self.encoder.requires_grad_(not n.frozen_text)
        self.words = nn.Linear(n.width, n.d)
        self.sources = nn.ModuleDict({m: nn.Linear(sizes.width[m], n.d) for m in n.sources})
        self.drop = nn.Dropout(n.drop)
        self.aligners = nn.ModuleDict(
            {
                m: Aligner(
                    n, lambda: attention(n.d, heads=n.aligned_heads, head_width=n.head_width)
                )
                for m in n.sources
            }
        )
        self.fusion = Leading(
            n.fused_tokens,
            n.d,
            layers=n.fused_layers,
            heads=n.fused_heads,
            feed=n.feed,
            dropout=n.drop,
        )
        self.head = nn.Linear(n.fused_tokens * n.d, sizes.classes)

    def train(self, mode: bool = True) -> Self:
        """As every module; a frozen encoder stays in eval mode."""
        super().train(mode)
        if self._n.frozen_text:
            self.encoder.eval()
        return self

    def warm_up(self) -> str:
        """Take over the packaged encoder; all else stays new.

        Raises `UserError` when the package is missing or its shape is not this student's.
        """
        return encoder.warm_up(self.encoder)

    def _heard(self, batch: Batch) -> encoder.Heard:
        """`steps` are d wide. Raises `UserError` for a text of more tokens than `numbers.steps`."""
        _fits("text", batch, self._n.steps, "max_length")
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._n.frozen_text):
            heard = encoder.hear(self.encoder, batch)
        return heard._replace(steps=self.words(heard.steps))

    def _source(self, batch: Batch, name: str) -> tuple[Tensor, Tensor]:
        """(rows, steps, d), and where there is something."""
        _fits(name, batch, self._n.source_steps, "numbers.source_steps")
        return self.drop(self.sources[name](batch.x[name])), batch.mask[name]

    def _output(
        self, batch: Batch, text: Tensor, found: Mapping[str, Seen], maps: Mapping[str, Tensor]
    ) -> Output:
        """Fuse what was found in each source. Maps are 0 at padding, of text or of source.

        `text`: (rows, `width`), what the encoder made of it as a whole.
        """
        mask = batch.mask["text"]
        both = torch.cat([seen.out for seen in found.values()], dim=1)
        fused = self.fusion(both, torch.cat([mask] * len(found), dim=1))
        features = {f"attention.{m}": maps[m] * mask[:, None, :, None] for m in maps}
        logits = self.head(self.drop(fused.flatten(1)))
        return Output(logits, {**features, "fused": fused, "text": text})


def _fits(name: str, batch: Batch, most: int, setting: str) -> None:
    if batch.x[name].shape[1] > most:
        found = batch.x[name].shape[1]
        raise UserError(
            f"{name} of {found} steps, and the student knows {most}", mend=f"see {setting}"
        )
