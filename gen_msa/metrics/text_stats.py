"""Statistics of explanation texts: length, diversity, repetition, and truncation.

Diversity is a property of the set: distinct-n falls as the set grows, so values are comparable only
at equal size, and none of the metrics is a sum over rows. Source of distinct-n: Li et al. (2016).

    metrics["text_stats"]().measure(pairs)["distinct_2"]
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import nan
from statistics import fmean, stdev
from typing import Any

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import MetricSpec, UndefinedMetric, metrics
from gen_msa.metrics.explanation_text import (
    aspect_terms,
    reject_options,
    split_words,
    truncated_explanation,
    without_quotes,
)
from gen_msa.spans import SearchableText

_PLACEHOLDER = "\u2026"
_LABELS = frozenset({"positive", "negative", "neutral"})


@metrics.register
class TextStats:
    """Metrics of all explanations together."""

    specs: tuple[MetricSpec, ...] = (
        MetricSpec("length", "mean words of an explanation", unit="words", better=""),
        MetricSpec(
            "length_sd",
            "standard deviation of the words of an explanation (sample)",
            unit="words",
            better="",
        ),
        MetricSpec("empty", "share of opinions without an explanation", better="low"),
        MetricSpec("truncated", "share of explanations cut at the token limit", better="low"),
        MetricSpec("distinct_1", "distinct words / all words of all explanations", better=""),
        MetricSpec("distinct_2", "distinct bigrams / all bigrams", better=""),
        MetricSpec(
            "duplicate", "share of explanations with the same words as another row", better="low"
        ),
        MetricSpec(
            "template",
            "share of explanations with the most frequent form, without aspects, labels and quotes",
            better="low",
        ),
    )
    signature = "words after NFC and casefold, without punctuation"

    def __init__(self, **options: Any) -> None:
        reject_options("text_stats", options)

    def measure(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """Compute every metric; all but `empty` are NaN if no opinion has an explanation.

        `length_sd` is NaN for a single explanation.

        Raises:
            UndefinedMetric: There are no predictions.
        """
        answered = [p for p in pairs if p.prediction is not None]
        if not answered:
            raise UndefinedMetric("there are no predictions")
        explained = [p for p in answered if p.explanation]
        empty = 1 - len(explained) / len(answered)
        if not explained:
            return {f.name: nan for f in self.specs} | {"empty": empty}
        tokens = [split_words(p.explanation) for p in explained]
        lengths = [len(t) for t in tokens]
        templates = Counter(_template_of(p) for p in explained)
        token_counts = Counter(map(tuple, tokens))
        return {
            "length": fmean(lengths),
            "length_sd": stdev(lengths) if len(lengths) > 1 else nan,
            "empty": empty,
            "truncated": sum(_is_truncated(p) for p in explained) / len(explained),
            "distinct_1": _distinct_share([w for t in tokens for w in t]),
            "distinct_2": _distinct_share([pair for t in tokens for pair in pairwise(t)]),
            "duplicate": sum(n for n in token_counts.values() if n > 1) / len(explained),
            "template": max(templates.values()) / len(explained),
        }


def _is_truncated(pair: Pair) -> bool:
    return pair.prediction is not None and pair.prediction.provenance.get("explanation") == "cut"


def _distinct_share(items: Sequence[object]) -> float:
    return len(set(items)) / len(items) if items else nan


def _template_of(pair: Pair) -> tuple[str, ...]:
    """Return the words of an explanation with a placeholder for each quote, aspect and label."""
    aspect_term, other_terms = aspect_terms(pair)
    text = without_quotes(truncated_explanation(pair), frozenset())
    for name in sorted({aspect_term, *other_terms} - {""}, key=len, reverse=True):
        for start, end in reversed(list(SearchableText(text).find_whole_words(name))):
            text = f"{text[:start]}{_PLACEHOLDER}{text[end:]}"
    tokens = (w for piece in text.split(_PLACEHOLDER) for w in (*split_words(piece), _PLACEHOLDER))
    return tuple(_PLACEHOLDER if w in _LABELS else w for w in tokens)
