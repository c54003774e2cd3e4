"""CIDEr-D of explanations against gold's: n-grams weigh more the fewer references they stand in.

After Vedantam, Zitnick and Parikh (2015) with one reference a row; words are not stemmed. The
weights come from the references of the rows that are evaluated: figures of another set, or of a
part of this one measured by itself, do not compare. Within one call of `rows` they are fixed, so
samples of those rows do compare.

    metrics["cider"]().rows(pairs)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import exp, log, sqrt
from typing import Any

from pydantic import Field

from gen_msa.metrics import _references as references
from gen_msa.metrics._cuts import Array
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics._references import Texts
from gen_msa.metrics._words import CODE, check_language, words
from gen_msa.metrics.base import Figure, Undefined, metrics
from gen_msa.settings import Settings, build

ORDERS = 4
SIGMA = 6.0
Grams = list[Counter[tuple[str, ...]]]
Weights = Mapping[tuple[str, ...], float]


class CiderOptions(Settings):
    """How texts become words."""

    language: str = Field(default="en", pattern=CODE)


@metrics.register
class Cider:
    """Mean CIDEr-D over rows, 0..10."""

    figures: tuple[Figure, ...] = (
        Figure("cider_d", "mean CIDEr-D, 0..10; weights from these rows' references", "score"),
    )

    def __init__(self, **options: Any) -> None:
        self.options = build(CiderOptions, options, "metric cider")
        self.signature = (
            f"cider-d lang:{self.options.language}|n:{ORDERS}|sigma:{SIGMA}|stem:no"
            "|df:references of the evaluated rows|version:1"
        )

    def rows(self, pairs: Sequence[Pair]) -> Array:
        """Columns: scored, CIDEr-D. Raises `Undefined` for fewer than two references."""
        golds = [p.reference for p in pairs if p.reference]
        return references.rows(pairs, lambda texts: self._measure(texts, golds), 1)

    def values(self, sums: Array) -> dict[str, Array]:
        """The mean over scored rows."""
        return references.means(sums, [f.name for f in self.figures])

    def _measure(self, texts: list[Texts], golds: Sequence[str]) -> list[tuple[float]]:
        language = self.options.language
        check_language(golds, language)
        if len(golds) < 2:
            raise Undefined("CIDEr-D needs at least two references: of one, no word is rare")
        found: Counter[tuple[str, ...]] = Counter()
        for text, times in Counter(golds).items():
            for grams in _grams(words(text, language)):
                found.update(dict.fromkeys(grams, times))
        weigher = Weigher(len(golds), found)
        return [(weigher.of(words(a, language), words(b, language)),) for a, b in texts]


class Weigher:
    """CIDEr-D of two texts, by how many of `rows` references each n-gram stands in (`found`)."""

    def __init__(self, rows: int, found: Mapping[tuple[str, ...], int]) -> None:
        self._rows = log(rows)
        self._found = found

    def of(self, said: Sequence[str], gold: Sequence[str]) -> float:
        """10 times the mean over n of the clipped cosine, times the penalty of unequal length."""
        penalty = exp(-((len(said) - len(gold)) ** 2) / (2 * SIGMA**2))
        pairs = zip(_grams(said), _grams(gold), strict=True)
        cosines = [self._cosine(a, b) for a, b in pairs]
        return 10 * penalty * sum(cosines) / ORDERS

    def _cosine(self, said: Counter[tuple[str, ...]], gold: Counter[tuple[str, ...]]) -> float:
        ours, theirs = self._weigh(said), self._weigh(gold)
        size = sqrt(sum(w * w for w in ours.values()) * sum(w * w for w in theirs.values()))
        shared = sum(min(w, theirs[g]) * theirs[g] for g, w in ours.items() if g in theirs)
        return shared / size if size else 0.0

    def _weigh(self, grams: Counter[tuple[str, ...]]) -> Weights:
        # A word that no reference has weighs as much as one that a single reference has.
        found = self._found
        return {g: k * (self._rows - log(max(1, found.get(g, 0)))) for g, k in grams.items()}


def _grams(text: Sequence[str]) -> Grams:
    lengths = range(1, ORDERS + 1)
    return [Counter(zip(*(text[i:] for i in range(n)), strict=False)) for n in lengths]
