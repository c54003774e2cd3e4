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
from gen_msa.metrics.base import Figure, Undefined, metrics
from gen_msa.metrics.explained import claim, explanation, take_none, terms, words
from gen_msa.spans import Spans

_HOLE = "\u2026"
_LABELS = frozenset({"positive", "negative", "neutral"})


@metrics.register
class Wording:
    """Figures of all explanations together."""

    figures: tuple[Figure, ...] = (
        Figure("length", "words of an explanation, mean", unit="words", better=""),
        Figure("length_sd", "words of an explanation, sample sd", unit="words", better=""),
        Figure("empty", "opinions without an explanation", better="low"),
        Figure("cut", "explanations that ended at the token limit", better="low"),
        Figure("distinct_1", "different words, of all words of all explanations", better=""),
        Figure("distinct_2", "different pairs of neighbouring words, of all pairs", better=""),
        Figure("duplicate", "explanations whose words another row has too", better="low"),
        Figure(
            "template",
            "explanations of the commonest form, when aspects, labels and quotes are taken out",
            better="low",
        ),
    )
    signature = "words after NFC and casefold, without punctuation"

    def __init__(self, **options: Any) -> None:
        take_none("wording", options)

    def measure(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """Every figure; all but `empty` are NaN when no opinion has an explanation.

        `length_sd` is NaN for a single explanation. Raises `Undefined` without any opinion.
        """
        said = [p for p in pairs if p.said is not None]
        if not said:
            raise Undefined("the reader said nothing")
        some = [p for p in said if p.explanation]
        empty = 1 - len(some) / len(said)
        if not some:
            return {f.name: nan for f in self.figures} | {"empty": empty}
        tokens = [words(p.explanation) for p in some]
        lengths = [len(t) for t in tokens]
        forms = Counter(_form(p) for p in some)
        same = Counter(map(tuple, tokens))
        return {
            "length": fmean(lengths),
            "length_sd": stdev(lengths) if len(lengths) > 1 else nan,
            "empty": empty,
            "cut": sum(_cut(p) for p in some) / len(some),
            "distinct_1": _distinct([w for t in tokens for w in t]),
            "distinct_2": _distinct([pair for t in tokens for pair in pairwise(t)]),
            "duplicate": sum(n for n in same.values() if n > 1) / len(some),
            "template": max(forms.values()) / len(some),
        }


def _cut(pair: Pair) -> bool:
    return pair.said is not None and pair.said.how.get("explanation") == "cut"


def _distinct(items: Sequence[object]) -> float:
    return len(set(items)) / len(items) if items else nan


def _form(pair: Pair) -> tuple[str, ...]:
    """The words of an explanation with a hole for each quote, aspect and label."""
    own, rivals = terms(pair)
    text = claim(explanation(pair), frozenset())
    for name in sorted({own, *rivals} - {""}, key=len, reverse=True):
        for start, end in reversed(list(Spans(text).whole(name))):
            text = f"{text[:start]}{_HOLE}{text[end:]}"
    holes = (w for piece in text.split(_HOLE) for w in (*words(piece), _HOLE))
    return tuple(_HOLE if w in _LABELS else w for w in holes)
