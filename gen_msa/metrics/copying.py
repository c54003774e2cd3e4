"""How much of an explanation is copied from its post, and from its prompt.

Some words of the post are evidence, many are copying; words of the prompt (its examples, its
instructions) are never evidence. The post's text is removed from the prompt first, and words that
occur in both count as the post's. Quotation marks are ignored.

    metrics["copying"]().row_statistics(pairs)
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import MetricSpec, UndefinedMetric, metrics
from gen_msa.metrics.explanation_text import (
    MAX_WORDS,
    nan_divide,
    reject_options,
    split_words,
    statistics_matrix,
)

if TYPE_CHECKING:
    from gen_msa.metrics.base import Array

NGRAM_SIZE = 4
"""Words of an n-gram."""


@metrics.register
class Copying:
    """Runs of words that an explanation shares with its post and with its prompt."""

    specs: tuple[MetricSpec, ...] = (
        MetricSpec("post", "share of 4-grams that occur in the post", better=""),
        MetricSpec(
            "post_longest", "mean longest run of words of the post", unit="words", better=""
        ),
        MetricSpec("prompt", "share of 4-grams in the prompt and not in the post", better="low"),
        MetricSpec(
            "prompt_longest",
            "mean longest run of words in the prompt and not in the post",
            unit="words",
            better="low",
        ),
    )
    signature = f"words after NFC and casefold; first {MAX_WORDS} of an explanation"

    def __init__(self, **options: Any) -> None:
        reject_options("copying", options)

    def row_statistics(self, pairs: Sequence[Pair]) -> "Array":
        """Return the columns: explains, 4-grams, post 4-grams, longest run; then of the prompt.

        The columns of the prompt are the same four, over the rows whose prompt is known.
        """
        rows = [_row_statistics(p) for p in pairs]
        if not any(r[0] for r in rows):
            raise UndefinedMetric("no row has an explanation")
        return statistics_matrix(rows)

    def compute(self, sums: "Array") -> "dict[str, Array]":
        """Return each metric; those of the prompt are NaN if no row has its prompt.

        Args:
            sums: Sums of `row_statistics`, `(..., 8)`; each metric is `(...,)`.
        """
        return {
            "post": nan_divide(sums[..., 2], sums[..., 1]),
            "post_longest": nan_divide(sums[..., 3], sums[..., 0]),
            "prompt": nan_divide(sums[..., 6], sums[..., 5]),
            "prompt_longest": nan_divide(sums[..., 7], sums[..., 4]),
        }


def _row_statistics(pair: Pair) -> tuple[float, ...]:
    tokens = split_words(pair.explanation)[:MAX_WORDS]
    if not tokens:
        return (0,) * 8
    post_tokens = _padded_tokens(pair.post.text)
    ngrams = [_padded_ngram(tokens, i, NGRAM_SIZE) for i in range(len(tokens) - NGRAM_SIZE + 1)]
    post_statistics = (
        1,
        len(ngrams),
        sum(g in post_tokens for g in ngrams),
        longest_copied_run(tokens, post_tokens),
    )
    prompt_text = pair.extra_inputs.get("prompt", "")
    if not prompt_text:
        return (*post_statistics, 0, 0, 0, 0)
    post_text = pair.post.text
    prompt_tokens = "|".join(
        _padded_tokens(piece)
        for piece in (prompt_text.split(post_text) if post_text else [prompt_text])
    )
    n_copied = sum(g in prompt_tokens and g not in post_tokens for g in ngrams)
    return (
        *post_statistics,
        1,
        len(ngrams),
        n_copied,
        longest_copied_run(tokens, prompt_tokens, post_tokens),
    )


def longest_copied_run(tokens: Sequence[str], source: str, excluded: str = "") -> int:
    """Return the length in words of the longest run of `tokens` in `source` but not in `excluded`.

    Args:
        tokens: Words of the explanation.
        source: Words separated by single spaces, with a space at both ends.
        excluded: Words in the same form.
    """
    best = 0
    for i in range(len(tokens)):
        n = best
        while i + n < len(tokens) and _padded_ngram(tokens, i, n + 1) in source:
            n += 1
        if n > best and _padded_ngram(tokens, i, n) not in excluded:
            best = n
    return best


def _padded_ngram(tokens: Sequence[str], start: int, n: int) -> str:
    return f" {' '.join(tokens[start : start + n])} "


def _padded_tokens(text: str) -> str:
    return f" {' '.join(split_words(text))} "
