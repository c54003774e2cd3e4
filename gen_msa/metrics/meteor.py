"""METEOR of explanations against gold's, with exact and stem matches only, and named so.

The full METEOR also matches synonyms (WordNet), which this one does not have: do not set its
figures beside those of the full one. For languages other than English there is no stemmer either,
and the figure is called `meteor_exact`. Parameters of Lavie and Agarwal (2007).

    metrics["meteor"]().rows(pairs)
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from pydantic import Field

from gen_msa.metrics import _references as references
from gen_msa.metrics._cuts import Array
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics._references import Texts
from gen_msa.metrics._words import CODE, check_language, words
from gen_msa.metrics.base import Figure, metrics
from gen_msa.settings import Settings, build

ALPHA, BETA, GAMMA = 0.9, 3.0, 0.5
Matches = list[tuple[int, int]]


class MeteorOptions(Settings):
    """How texts become words."""

    language: str = Field(default="en", pattern=CODE)


@metrics.register
class Meteor:
    """Mean METEOR over rows, 0..1."""

    def __init__(self, **options: Any) -> None:
        self.options = build(MeteorOptions, options, "metric meteor")
        english = self.options.language == "en"
        self._stem: Any = None
        if english:
            porter = references.need("nltk.stem.porter", "rouge-score", "eval")
            self._stem = lru_cache(maxsize=1 << 16)(porter.PorterStemmer().stem)
        name = "meteor_exact_stem" if english else "meteor_exact"
        about = "mean of (1 - 0.5 (chunks/matches)^3) PR / (0.9 P + 0.1 R); missing is 0"
        self.figures: tuple[Figure, ...] = (Figure(name, about),)
        stems = "porter" if english else "none"
        self.signature = (
            f"{name} lang:{self.options.language}|alpha:{ALPHA}|beta:{BETA}|gamma:{GAMMA}"
            f"|stem:{stems}|synonyms:none|align:greedy from the end|version:1"
        )

    def rows(self, pairs: Sequence[Pair]) -> Array:
        """Columns: scored, METEOR."""
        return references.rows(pairs, self._measure, 1)

    def values(self, sums: Array) -> dict[str, Array]:
        """The mean over scored rows."""
        return references.means(sums, [f.name for f in self.figures])

    def _measure(self, texts: list[Texts]) -> list[tuple[float]]:
        language = self.options.language
        check_language((gold for _, gold in texts), language)
        return [(self.of(words(said, language), words(gold, language)),) for said, gold in texts]

    def of(self, said: Sequence[str], gold: Sequence[str]) -> float:
        """METEOR of two lists of words; 0 when no word matches."""
        matches = self._aligned(said, gold)
        if not matches:
            return 0.0
        precision, recall = len(matches) / len(said), len(matches) / len(gold)
        mean = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
        steps = pairwise(matches)
        chunks = 1 + sum((j[0] - i[0], j[1] - i[1]) != (1, 1) for i, j in steps)
        return float((1 - GAMMA * (chunks / len(matches)) ** BETA) * mean)

    def _aligned(self, said: Sequence[str], gold: Sequence[str]) -> Matches:
        """Places in both of the words that match, exact ones first; each word at most once."""
        ours, theirs = list(enumerate(said)), list(enumerate(gold))
        matches = _take(ours, theirs)
        if self._stem:
            ours = [(i, self._stem(w)) for i, w in ours]
            theirs = [(i, self._stem(w)) for i, w in theirs]
            matches += _take(ours, theirs)
        return sorted(matches)


def _take(ours: list[tuple[int, str]], theirs: list[tuple[int, str]]) -> Matches:
    """Match equal words from the end, each to the last free one; both lists lose the matched."""
    free: dict[str, list[int]] = {}
    for place, word in theirs:
        free.setdefault(word, []).append(place)
    matches = [(place, free[word].pop()) for place, word in reversed(ours) if free.get(word)]
    mine, others = {i for i, _ in matches}, {j for _, j in matches}
    ours[:] = [o for o in ours if o[0] not in mine]
    theirs[:] = [t for t in theirs if t[0] not in others]
    return matches
