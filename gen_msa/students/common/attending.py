"""Attention between sequences, with its map shown: plain, steered by a context, and to tokens.

`attend` is the one formula: scores D = Q K' / sqrt(width of a head), a map softmax(D * times), and
out = map V. Without `times` that is plain attention (Vaswani et al. 2017); with it the conditional
attention of MMSLF (Zhang et al. 2025). Padding gets no weight, and where a row has nothing to look
at its map and its output are 0. Knows no student and nothing of batches.

    seen = CrossAttention(64, heads=4, head_width=32)(text, sound, there)
    seen.out, seen.plain       # (rows, steps, 64), (rows, 4, steps, steps of the sound)
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Seen(NamedTuple):
    """What queries found."""

    out: Tensor
    """(rows, queries, width)."""
    plain: Tensor
    """(rows, heads, queries, sources): where they look by themselves; sums to 1, or is 0."""
    used: Tensor
    """The map that `out` was made with: `plain`, unless something steered it."""


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, times: Tensor | None = None
) -> Seen:
    """Every query looks at the sources marked; all are (rows, heads, steps, width of a head).

    `mask`: (rows, sources). `times`: (rows, heads, queries, sources), by which scores are
    multiplied before the softmax; of ones it changes nothing.
    """
    scores = query @ key.transpose(-1, -2) / key.shape[-1] ** 0.5
    plain = _shares(scores, mask)
    used = plain if times is None else _shares(scores * times, mask)
    return Seen(used @ value, plain, used)


def _shares(scores: Tensor, mask: Tensor) -> Tensor:
    there = mask[:, None, None, :]
    hidden = scores.masked_fill(~there, torch.finfo(scores.dtype).min)
    return hidden.softmax(-1) * there


class CrossAttention(nn.Module):  # type: ignore[misc]
    """One sequence asks another. No projection has a bias: one on keys would do nothing."""

    def __init__(self, width: int, *, heads: int, head_width: int) -> None:
        """`width`: of both sequences and of what is found."""
        super().__init__()
        self.heads = heads
        inner = heads * head_width
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, inner, bias=False)
        self.out = nn.Linear(inner, width)

    def forward(self, asks: Tensor, source: Tensor, mask: Tensor) -> Seen:
        """(rows, queries, width), (rows, sources, width), (rows, sources)."""
        query, key, value = self._parts(asks, source)
        return self._joined(attend(query, key, value, mask))

    def _parts(self, asks: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = self.query(asks), self.key(source), self.value(source)
        return self._split(query), self._split(key), self._split(value)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _joined(self, seen: Seen) -> Seen:
        return seen._replace(out=self.out(seen.out.transpose(1, 2).flatten(2)))


class ConditionalAttention(CrossAttention):
    """The same, steered: scores are multiplied by E = (P W) V' / sqrt(width of a head)."""

    def __init__(self, width: int, *, heads: int, head_width: int) -> None:
        """As `CrossAttention`, and the projection W of the context."""
        super().__init__(width, heads=heads, head_width=head_width)
        self.steer = nn.Linear(width, heads * head_width, bias=False)

    def forward(
        self,
        asks: Tensor,
        source: Tensor,
        mask: Tensor,
        context: Tensor | None = None,
        told: Tensor | None = None,
    ) -> Seen:
        """`context`: P, (rows, queries, width); `told`: (rows,), whose context is there at all.

        A row without a context looks by itself: its E is 1.
        """
        query, key, value = self._parts(asks, source)
        times = None
        if context is not None:
            times = self._split(self.steer(context)) @ value.transpose(-1, -2)
            times = times / value.shape[-1] ** 0.5
            if told is not None:
                times = torch.where(told[:, None, None, None], times, 1.0)
        return self._joined(attend(query, key, value, mask, times))


class CrossLayer(nn.Module):  # type: ignore[misc]
    """A pre-norm layer: one sequence looks at another, which stays as it is, and thinks it over."""

    def __init__(self, attention: CrossAttention, width: int, feed: int, dropout: float) -> None:
        """`feed`: inner width of the feed-forward part."""
        super().__init__()
        self.asks, self.source = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = attention
        self.dropout = nn.Dropout(dropout)
        self.feed = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, feed),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(feed, width),
        )

    def forward(self, x: Tensor, source: Tensor, mask: Tensor, *steering: Tensor) -> Seen:
        """As the attention it was given; `steering` goes to it unseen."""
        seen: Seen = self.attention(self.asks(x), self.source(source), mask, *steering)
        x = x + self.dropout(seen.out)
        return seen._replace(out=x + self.dropout(self.feed(x)))


class Leading(nn.Module):  # type: ignore[misc]
    """Learned tokens before a sequence of any length; only they are kept: a summary of it."""

    def __init__(
        self, tokens: int, width: int, *, layers: int, heads: int, feed: int, dropout: float
    ) -> None:
        """`tokens`: how many; `layers`: of a pre-norm transformer over all."""
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(tokens, width) * width**-0.5)
        layer = nn.TransformerEncoderLayer(
            width, heads, feed, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(
            layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(rows, steps, width), (rows, steps) -> (rows, tokens, width)."""
        tokens = self.tokens.expand(len(x), -1, -1)
        count = tokens.shape[1]
        there = torch.cat([mask.new_ones(len(x), count), mask], dim=1)
        whole = self.layers(torch.cat([tokens, x], dim=1), src_key_padding_mask=~there)
        return torch.as_tensor(whole[:, :count])
