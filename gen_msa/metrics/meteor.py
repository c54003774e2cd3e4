"""METEOR of explanations against the reference, by nltk, with exact and stem matches only.

The full METEOR also matches synonyms (WordNet), so its values are not comparable with these. For
languages other than English there is no stemmer either, and the metric is called `meteor_exact`.
Parameters of Lavie and Agarwal (2007).

    metrics["meteor"]().row_statistics(pairs)
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
    """Tokenization."""

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
        stemmer_name = "porter" if english else "none"
        self.signature = (
            f"{name} lang:{self.options.language}|alpha:{ALPHA}|beta:{BETA}|gamma:{GAMMA}"
            f"|stem:{stemmer_name}|synonyms:none|align:greedy from the end|version:1"
        )

    def row_statistics(self, pairs: Sequence[Pair]) -> Array:
        """Return the columns: scored, METEOR."""
        return references.score_rows(pairs, self._measure, 1)

    def compute(self, sums: Array) -> dict[str, Array]:
        """Return the mean over scored rows.

        Args:
            sums: Sums of `row_statistics`, `(..., 2)`; the metric is `(...,)`.
        """
        return references.column_means(sums, [f.name for f in self.specs])

    def _measure(self, texts: list[TextPair]) -> list[tuple[float]]:
        language = self.options.language
        check_language((gold for _, gold in texts), language)
        return [
            (self.score_words(tokenize(prediction, language), tokenize(gold, language)),)
            for prediction, gold in texts
        ]

    def score_words(self, prediction: Sequence[str], gold: Sequence[str]) -> float:
        """Return METEOR of two lists of words; 0 if no word matches.

        Args:
            prediction: Words of the explanation.
            gold: Words of the reference.
        """
        score = self._score(
            gold,
            prediction,
            preprocess=str,
            stemmer=self._stemmer,
            wordnet=_NoSynonyms(),
            alpha=ALPHA,
            beta=BETA,
            gamma=GAMMA,
        )
        return float(score)


class _Stemmer:
    """The stemmer interface of nltk; each word is stemmed once."""

    def __init__(self, stem: Callable[[str], str]) -> None:
        self.stem = lru_cache(maxsize=1 << 16)(stem)


class _NoSynonyms:
    """The WordNet interface of nltk without synonyms: WordNet's data is not installed with it."""

    def synsets(self, word: str) -> tuple[()]:
        """Return no synonyms."""
        return ()
