"""Attention layers that expose their map: plain, conditioned by a context, pooling into tokens.

`attend` implements the formula: scores D = Q K' / sqrt(head width), map softmax(D * score_scale)
and output map V. Without `score_scale` it is plain attention (Vaswani et al. 2017), with it the
conditional attention of MMSLF (Zhang et al. 2025). Padding gets no weight; a row without any source
step has a map and an output of 0.

    output = CrossAttention(64, heads=4, head_width=32)(text, audio, mask)
    output.out, output.weights       # (rows, steps, 64), (rows, 4, steps, audio steps)
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class AttentionOutput(NamedTuple):
    """Output and maps of an attention layer."""

    out: Tensor
    """(rows, queries, width)."""
    weights: Tensor
    """(rows, heads, queries, sources): plain attention map; sums to 1, or is 0."""
    conditioned_weights: Tensor
    """Map that produced `out`: equal to `weights` unless a context conditioned it."""


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, score_scale: Tensor | None = None
) -> AttentionOutput:
    """Attend from every query to the sources that `mask` marks.

    Args:
        query: (rows, heads, queries, head width).
        key: (rows, heads, sources, head width).
        value: (rows, heads, sources, head width).
        mask: (rows, sources), True for real steps.
        score_scale: (rows, heads, queries, sources), multiplied with the scores before the softmax;
            None or ones for plain attention.

    Returns:
        The output, (rows, heads, queries, head width), and both attention maps; a row without real
        sources gets zeros.
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
    """Attention from one sequence to another. Projections to heads have no bias."""

    def __init__(self, width: int, *, heads: int, head_width: int) -> None:
        """Draw new weights.

        Args:
            width: Width of both sequences and of the output.
            heads: Number of heads.
            head_width: Width of a head.
        """
        super().__init__()
        self.heads = heads
        inner = heads * head_width
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, inner, bias=False)
        self.out = nn.Linear(inner, width)

    def forward(self, queries: Tensor, source: Tensor, mask: Tensor) -> AttentionOutput:
        """Attend from `queries` to `source`.

        Args:
            queries: (rows, queries, width).
            source: (rows, sources, width).
            mask: (rows, sources), True for real steps.

        Returns:
            The output, (rows, queries, width), and its attention maps.
        """
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
    """Attention whose scores are multiplied by E = (P W) V' / sqrt(head width)."""

    def __init__(self, width: int, *, heads: int, head_width: int) -> None:
        """Draw new weights, with the projection W of the context.

        Args:
            width: Width of both sequences, of the context and of the output.
            heads: Number of heads.
            head_width: Width of a head.
        """
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
        """Attend from `queries` to `source`, conditioned by `context`.

        Args:
            queries: (rows, queries, width).
            source: (rows, sources, width).
            mask: (rows, sources), True for real steps.
            context: P, (rows, queries, width); None for plain attention.
            has_context: (rows,), False where a row has no context: its E is 1.

        Returns:
            The output, (rows, queries, width), and its attention maps.
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
    """Pre-norm transformer layer of one sequence attending to another, which stays unchanged."""

    def __init__(self, attention: CrossAttention, width: int, ffn_dim: int, dropout: float) -> None:
        """Draw new weights around an attention.

        Args:
            attention: Attention of the layer.
            width: Width of both sequences.
            ffn_dim: Inner width of the feed-forward network.
            dropout: Dropout of attention and feed-forward outputs.
        """
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
        """Apply attention and feed-forward network.

        Args:
            x: (rows, queries, width).
            source: (rows, sources, width).
            mask: (rows, sources), True for real steps.
            context: Further inputs of the attention.

        Returns:
            The output, (rows, queries, width), with residual connections, and the attention maps.
        """
        output: AttentionOutput = self.attention(
            self.query_norm(x), self.source_norm(source), mask, *context
        )
        x = x + self.dropout(output.out)
        return output._replace(out=x + self.dropout(self.ffn(x)))


class LearnedTokenPooling(nn.Module):  # type: ignore[misc]
    """Summarize a sequence of any length by learned tokens prepended to a transformer."""

    def __init__(
        self, tokens: int, width: int, *, layers: int, heads: int, ffn_dim: int, dropout: float
    ) -> None:
        """Draw new weights.

        Args:
            tokens: Number of learned tokens.
            width: Width of a step.
            layers: Pre-norm transformer layers.
            heads: Attention heads.
            ffn_dim: Inner width of the feed-forward networks.
            dropout: Dropout of the layers.
        """
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(tokens, width) * width**-0.5)
        layer = nn.TransformerEncoderLayer(
            width, heads, ffn_dim, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(
            layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Summarize each row.

        Args:
            x: (rows, steps, width).
            mask: (rows, steps), True for real steps.

        Returns:
            (rows, tokens, width).
        """
        tokens = self.tokens.expand(len(x), -1, -1)
        count = tokens.shape[1]
        valid = torch.cat([mask.new_ones(len(x), count), mask], dim=1)
        encoded = self.layers(torch.cat([tokens, x], dim=1), src_key_padding_mask=~valid)
        return torch.as_tensor(encoded[:, :count])
