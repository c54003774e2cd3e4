"""CIDEr-D of explanations against the reference: rare n-grams weigh more.

After Vedantam, Zitnick and Parikh (2015), with one reference per row and without stemming. The
weights come from the references of the evaluated rows, so values of different sets, or of a subset
evaluated separately, are not comparable. Within one call of `row_statistics` they are fixed, so
samples of its rows are comparable.

    metrics["cider"]().row_statistics(pairs)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import exp, log, sqrt
from typing import Any

from pydantic import Field

from gen_msa.metrics import _reference_based as references
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics._reference_based import LANGUAGE_PATTERN, TextPair, check_language, tokenize
from gen_msa.metrics._thresholds import Array
from gen_msa.metrics.base import MetricSpec, UndefinedMetric, metrics
from gen_msa.settings import Settings, build

ORDERS = 4
SIGMA = 6.0
NgramCounts = list[Counter[tuple[str, ...]]]
Weights = Mapping[tuple[str, ...], float]


class CiderOptions(Settings):
    """Tokenization."""

    language: str = Field(default="en", pattern=LANGUAGE_PATTERN)


@metrics.register
class Cider:
    """Mean CIDEr-D over rows, 0..10."""

    specs: tuple[MetricSpec, ...] = (
        MetricSpec(
            "cider_d",
            "mean CIDEr-D, 0..10; weights from these rows' references",
            "score",
            range=(0.0, 10.0),
        ),
    )

    def __init__(self, **options: Any) -> None:
        self.options = build(CiderOptions, options, "metric cider")
        self.signature = (
            f"cider-d lang:{self.options.language}|n:{ORDERS}|sigma:{SIGMA}|stem:no"
            "|df:references of the evaluated rows|version:1"
        )

    def row_statistics(self, pairs: Sequence[Pair]) -> Array:
        """Return the columns: scored, CIDEr-D.

        Raises:
            UndefinedMetric: There are fewer than two references.
        """
        gold_texts = [p.reference_explanation for p in pairs if p.reference_explanation]
        return references.score_rows(pairs, lambda texts: self._measure(texts, gold_texts), 1)

    def compute(self, sums: Array) -> dict[str, Array]:
        """Return the mean over scored rows.

        Args:
            sums: Sums of `row_statistics`, `(..., 2)`; the metric is `(...,)`.
        """
        return references.column_means(sums, [f.name for f in self.specs])

    def _measure(self, texts: list[TextPair], gold_texts: Sequence[str]) -> list[tuple[float]]:
        language = self.options.language
        check_language(gold_texts, language)
        if len(gold_texts) < 2:
            raise UndefinedMetric("CIDEr-D needs at least two references to weight words by rarity")
        document_frequency: Counter[tuple[str, ...]] = Counter()
        for text, count in Counter(gold_texts).items():
            for ngrams in _ngrams(tokenize(text, language)):
                document_frequency.update(dict.fromkeys(ngrams, count))
        scorer = TfidfScorer(len(gold_texts), document_frequency)
        return [
            (scorer.score(tokenize(prediction, language), tokenize(gold, language)),)
            for prediction, gold in texts
        ]


class TfidfScorer:
    """CIDEr-D of two texts, with n-grams weighted by their document frequency."""

    def __init__(
        self, n_references: int, document_frequency: Mapping[tuple[str, ...], int]
    ) -> None:
        """Store the weights.

        Args:
            n_references: The number of references.
            document_frequency: How many references contain each n-gram.
        """
        self._log_references = log(n_references)
        self._document_frequency = document_frequency

    def score(self, prediction: Sequence[str], gold: Sequence[str]) -> float:
        """Return 10 times the mean clipped cosine over n, times the length penalty; 0..10.

        Args:
            prediction: Words of the explanation.
            gold: Words of the reference.
        """
        penalty = exp(-((len(prediction) - len(gold)) ** 2) / (2 * SIGMA**2))
        pairs = zip(_ngrams(prediction), _ngrams(gold), strict=True)
        cosines = [self._cosine(a, b) for a, b in pairs]
        return 10 * penalty * sum(cosines) / ORDERS

    def _cosine(
        self, prediction: Counter[tuple[str, ...]], gold: Counter[tuple[str, ...]]
    ) -> float:
        prediction_weights, gold_weights = self._tfidf(prediction), self._tfidf(gold)
        norm = sqrt(
            sum(w * w for w in prediction_weights.values())
            * sum(w * w for w in gold_weights.values())
        )
        shared = sum(
            min(w, gold_weights[g]) * gold_weights[g]
            for g, w in prediction_weights.items()
            if g in gold_weights
        )
        return shared / norm if norm else 0.0

    def _tfidf(self, ngrams: Counter[tuple[str, ...]]) -> Weights:
        # A word of no reference has the weight of a word of one reference.
        frequency = self._document_frequency
        return {
            g: k * (self._log_references - log(max(1, frequency.get(g, 0))))
            for g, k in ngrams.items()
        }


def _ngrams(text: Sequence[str]) -> NgramCounts:
    lengths = range(1, ORDERS + 1)
    return [Counter(zip(*(text[i:] for i in range(n)), strict=False)) for n in lengths]
