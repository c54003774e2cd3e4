"""METEOR of explanations against gold's, by nltk, with exact and stem matches only, and named so.

The full METEOR also matches synonyms (WordNet), which this one does not have: do not set its
figures beside those of the full one. For languages other than English there is no stemmer either,
and the figure is called `meteor_exact`. Parameters of Lavie and Agarwal (2007).

    metrics["meteor"]().rows(pairs)
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from pydantic import Field

from gen_msa.metrics import _reference_based as references
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics._reference_based import LANGUAGE_PATTERN, TextPair, check_language, tokenize
from gen_msa.metrics._thresholds import Array
from gen_msa.metrics.base import MetricSpec, metrics
from gen_msa.settings import Settings, build

ALPHA, BETA, GAMMA = 0.9, 3.0, 0.5


class MeteorOptions(Settings):
    """How texts become words."""

    language: str = Field(default="en", pattern=LANGUAGE_PATTERN)


@metrics.register
class Meteor:
    """Mean METEOR over rows, 0..1."""

    def __init__(self, **options: Any) -> None:
        self.options = build(MeteorOptions, options, "metric meteor")
        english = self.options.language == "en"
        nltk = references.import_optional("nltk.translate.meteor_score", "nltk", "eval")
        self._score = nltk.single_meteor_score
        self._stemmer = _Stemmer(nltk.PorterStemmer().stem if english else str)
        name = "meteor_exact_stem" if english else "meteor_exact"
        about = "mean of (1 - 0.5 (chunks/matches)^3) PR / (0.9 P + 0.1 R); missing is 0"
        self.specs: tuple[MetricSpec, ...] = (MetricSpec(name, about),)
        stems = "porter" if english else "none"
        self.signature = (
            f"{name} lang:{self.options.language}|alpha:{ALPHA}|beta:{BETA}|gamma:{GAMMA}"
            f"|stem:{stems}|synonyms:none|align:greedy from the end|version:1"
        )

    def row_statistics(self, pairs: Sequence[Pair]) -> Array:
        """Columns: scored, METEOR."""
        return references.score_rows(pairs, self._measure, 1)

    def compute(self, sums: Array) -> dict[str, Array]:
        """The mean over scored rows."""
        return references.column_means(sums, [f.name for f in self.specs])

    def _measure(self, texts: list[TextPair]) -> list[tuple[float]]:
        language = self.options.language
        check_language((gold for _, gold in texts), language)
        return [
            (self.of(tokenize(said, language), tokenize(gold, language)),) for said, gold in texts
        ]

    def of(self, said: Sequence[str], gold: Sequence[str]) -> float:
        """METEOR of two lists of words; 0 when no word matches."""
        score = self._score(
            gold,
            said,
            preprocess=str,
            stemmer=self._stemmer,
            wordnet=_NoSynonyms(),
            alpha=ALPHA,
            beta=BETA,
            gamma=GAMMA,
        )
        return float(score)


class _Stemmer:
    """What nltk takes for a stemmer; each word is stemmed once."""

    def __init__(self, stem: Callable[[str], str]) -> None:
        self.stem = lru_cache(maxsize=1 << 16)(stem)


class _NoSynonyms:
    """What nltk takes for WordNet, whose data is not installed with it."""

    def synsets(self, word: str) -> tuple[()]:
        """None."""
        return ()
