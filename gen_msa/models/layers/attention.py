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


class AttentionOutput(NamedTuple):
    """What queries found."""

    out: Tensor
    """(rows, queries, width)."""
    weights: Tensor
    """(rows, heads, queries, sources): where they look by themselves; sums to 1, or is 0."""
    conditioned_weights: Tensor
    """The map that `out` was made with: `plain`, unless something steered it."""


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, score_scale: Tensor | None = None
) -> AttentionOutput:
    """Every query looks at the sources marked; all are (rows, heads, steps, width of a head).

    `mask`: (rows, sources). `times`: (rows, heads, queries, sources), by which scores are
    multiplied before the softmax; of ones it changes nothing.
    """
    scores = query @ key.transpose(-1, -2) / key.shape[-1] ** 0.5
    weights = _masked_softmax(scores, mask)
    conditioned_weights = (
        weights if score_scale is None else _masked_softmax(scores * score_scale, mask)
    )
    return AttentionOutput(conditioned_weights @ value, weights, conditioned_weights)


def _masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    valid = mask[:, None, None, :]
    masked = scores.masked_fill(~valid, torch.finfo(scores.dtype).min)
    return masked.softmax(-1) * valid


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

    def forward(self, queries: Tensor, source: Tensor, mask: Tensor) -> AttentionOutput:
        """(rows, queries, width), (rows, sources, width), (rows, sources)."""
        query, key, value = self._project(queries, source)
        return self._merge_heads(attend(query, key, value, mask))

    def _project(self, queries: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = self.query(queries), self.key(source), self.value(source)
        return self._split_heads(query), self._split_heads(key), self._split_heads(value)

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _merge_heads(self, output: AttentionOutput) -> AttentionOutput:
        return output._replace(out=self.out(output.out.transpose(1, 2).flatten(2)))


class ConditionalAttention(CrossAttention):
    """The same, steered: scores are multiplied by E = (P W) V' / sqrt(width of a head)."""

    def __init__(self, width: int, *, heads: int, head_width: int) -> None:
        """As `CrossAttention`, and the projection W of the context."""
        super().__init__(width, heads=heads, head_width=head_width)
        self.context_proj = nn.Linear(width, heads * head_width, bias=False)

    def forward(
        self,
        queries: Tensor,
        source: Tensor,
        mask: Tensor,
        context: Tensor | None = None,
        has_context: Tensor | None = None,
    ) -> AttentionOutput:
        """`context`: P, (rows, queries, width); `told`: (rows,), whose context is there at all.

        A row without a context looks by itself: its E is 1.
        """
        query, key, value = self._project(queries, source)
        score_scale = None
        if context is not None:
            score_scale = self._split_heads(self.context_proj(context)) @ value.transpose(-1, -2)
            score_scale = score_scale / value.shape[-1] ** 0.5
            if has_context is not None:
                score_scale = torch.where(has_context[:, None, None, None], score_scale, 1.0)
        return self._merge_heads(attend(query, key, value, mask, score_scale))


class CrossLayer(nn.Module):  # type: ignore[misc]
    """A pre-norm layer: one sequence looks at another, which stays as it is, and thinks it over."""

    def __init__(self, attention: CrossAttention, width: int, ffn_dim: int, dropout: float) -> None:
        """`feed`: inner width of the feed-forward part."""
        super().__init__()
        self.query_norm, self.source_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = attention
        self.dropout = nn.Dropout(dropout)
        self.ffn = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, ffn_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(ffn_dim, width),
        )

    def forward(self, x: Tensor, source: Tensor, mask: Tensor, *context: Tensor) -> AttentionOutput:
        """As the attention it was given; `steering` goes to it unseen."""
        output: AttentionOutput = self.attention(
            self.query_norm(x), self.source_norm(source), mask, *context
        )
        x = x + self.dropout(output.out)
        return output._replace(out=x + self.dropout(self.ffn(x)))


class LearnedTokenPooling(nn.Module):  # type: ignore[misc]
    """Learned tokens before a sequence of any length; only they are kept: a summary of it."""

    def __init__(
        self, tokens: int, width: int, *, layers: int, heads: int, ffn_dim: int, dropout: float
    ) -> None:
        """`tokens`: how many; `layers`: of a pre-norm transformer over all."""
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(tokens, width) * width**-0.5)
        layer = nn.TransformerEncoderLayer(
            width, heads, ffn_dim, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(
            layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(rows, steps, width), (rows, steps) -> (rows, tokens, width)."""
        tokens = self.tokens.expand(len(x), -1, -1)
        count = tokens.shape[1]
        valid = torch.cat([mask.new_ones(len(x), count), mask], dim=1)
        encoded = self.layers(torch.cat([tokens, x], dim=1), src_key_padding_mask=~valid)
        return torch.as_tensor(encoded[:, :count])
