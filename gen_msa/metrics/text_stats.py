"""How explanations are worded: length, variety, repetition, and how many never came to an end.

Variety is of the whole set: distinct-n falls as the set grows, so two figures compare only at equal
size, and none of these is a sum over rows. Knows nothing of the posts beyond their aspects' names.

    metrics["wording"]().measure(pairs)["distinct_2"]
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import nan
from statistics import fmean, stdev
from typing import Any

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import MetricSpec, UndefinedMetric, metrics
from gen_msa.metrics.text.explanations import (
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
    """Figures of all explanations together."""

    specs: tuple[MetricSpec, ...] = (
        MetricSpec("length", "words of an explanation, mean", unit="words", better=""),
        MetricSpec("length_sd", "words of an explanation, sample sd", unit="words", better=""),
        MetricSpec("empty", "opinions without an explanation", better="low"),
        MetricSpec("cut", "explanations that ended at the token limit", better="low"),
        MetricSpec("distinct_1", "different words, of all words of all explanations", better=""),
        MetricSpec("distinct_2", "different pairs of neighbouring words, of all pairs", better=""),
        MetricSpec("duplicate", "explanations whose words another row has too", better="low"),
        MetricSpec(
            "template",
            "explanations of the commonest form, when aspects, labels and quotes are taken out",
            better="low",
        ),
    )
    signature = "words after NFC and casefold, without punctuation"

    def __init__(self, **options: Any) -> None:
        reject_options("wording", options)

    def measure(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """Every figure; all but `empty` are NaN when no opinion has an explanation.

        `length_sd` is NaN for a single explanation. Raises `Undefined` without any opinion.
        """
        answered = [p for p in pairs if p.prediction is not None]
        if not answered:
            raise UndefinedMetric("the reader said nothing")
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
            "cut": sum(_is_truncated(p) for p in explained) / len(explained),
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
    """The words of an explanation with a hole for each quote, aspect and label."""
    aspect_term, other_terms = aspect_terms(pair)
    text = without_quotes(truncated_explanation(pair), frozenset())
    for name in sorted({aspect_term, *other_terms} - {""}, key=len, reverse=True):
        for start, end in reversed(list(SearchableText(text).find_whole_words(name))):
            text = f"{text[:start]}{_PLACEHOLDER}{text[end:]}"
    tokens = (w for piece in text.split(_PLACEHOLDER) for w in (*split_words(piece), _PLACEHOLDER))
    return tuple(_PLACEHOLDER if w in _LABELS else w for w in tokens)
