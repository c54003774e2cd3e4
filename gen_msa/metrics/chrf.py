"""chrF2 of explanations against the reference: character n-grams, independent of language.

Counts add up over rows, so any sample of rows gets its own corpus chrF, equal to sacrebleu's, whose
signature is reported. Source: Popović (2015).

    metrics["chrf"]().row_statistics(pairs)
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from gen_msa.metrics import _reference_based as references
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics._reference_based import TextPair
from gen_msa.metrics._thresholds import Array, nan_divide
from gen_msa.metrics.base import MetricSpec, metrics
from gen_msa.settings import Settings, build

ORDERS = 6
BETA = 2


class ChrfOptions(Settings):
    """Preprocessing of texts."""

    lowercase: bool = False


@metrics.register
class Chrf:
    """Corpus chrF and the mean of sentence chrF, both 0..100."""

    specs: tuple[MetricSpec, ...] = (
        MetricSpec(
            "chrf", "corpus chrF2, 6 orders, no spaces; a missing explanation is empty", "points"
        ),
        MetricSpec("sentence_chrf", "mean sentence chrF2; a missing explanation is 0", "points"),
    )

    def __init__(self, **options: Any) -> None:
        self.options = build(ChrfOptions, options, "metric chrf")
        chrf_factory = references.import_optional("sacrebleu.metrics", "sacrebleu", "eval").CHRF
        sacrebleu_chrf = chrf_factory(
            char_order=ORDERS, beta=BETA, lowercase=self.options.lowercase
        )
        # The signature includes the number of references.
        sacrebleu_chrf.corpus_score(["a"], [["a"]])
        self.signature = f"chrf {sacrebleu_chrf.get_signature()}"

    def row_statistics(self, pairs: Sequence[Pair]) -> Array:
        """Return the columns: scored, sentence chrF, then 3 counts of each order."""
        return references.score_rows(pairs, self._measure, 1 + 3 * ORDERS)

    def compute(self, sums: Array) -> dict[str, Array]:
        """Return corpus chrF of the summed counts, and the mean sentence chrF.

        Args:
            sums: Sums of `row_statistics`, `(..., 20)`; each metric is `(...,)`.
        """
        score = chrf_score(sums[..., 2:])
        return {
            "chrf": np.where(sums[..., 0] > 0, score, np.nan),
            "sentence_chrf": nan_divide(sums[..., 1], sums[..., 0]),
        }

    def _measure(self, texts: list[TextPair]) -> list[list[float]]:
        if self.options.lowercase:
            texts = [(prediction.lower(), gold.lower()) for prediction, gold in texts]
        counts = np.array(
            [_ngram_counts(prediction, gold) for prediction, gold in texts], dtype=np.float64
        )
        rows: list[list[float]] = np.column_stack([chrf_score(counts), counts]).tolist()
        return rows


def chrf_score(counts: Array) -> Array:
    """Compute chrF2 in 0..100.

    Orders that either side is too short for are excluded from the means of precision and recall.

    Args:
        counts: Predicted, reference and matched n-grams of each order, `(..., 18)`.

    Returns:
        chrF2, `(...,)`.
    """
    n_predicted, n_gold, n_matched = (counts[..., i::3] for i in range(3))
    usable = (n_predicted > 0) & (n_gold > 0)
    orders = usable.sum(axis=-1)
    zeros = np.zeros_like(n_predicted)
    precision = nan_divide(
        np.divide(n_matched, n_predicted, out=zeros.copy(), where=usable).sum(axis=-1), orders
    )
    recall = nan_divide(np.divide(n_matched, n_gold, out=zeros, where=usable).sum(axis=-1), orders)
    score = nan_divide((1 + BETA**2) * precision * recall, BETA**2 * precision + recall)
    return 100 * np.nan_to_num(score)


def _ngram_counts(prediction: str, gold: str) -> list[int]:
    counts: list[int] = []
    predicted_ngrams = _ngrams("".join(prediction.split()))
    for predicted_counts, gold_counts in zip(
        predicted_ngrams, _cached_ngrams("".join(gold.split())), strict=True
    ):
        matched = sum(
            min(k, gold_counts[gram]) for gram, k in predicted_counts.items() if gram in gold_counts
        )
        # sacrebleu skips the orders that the reference is too short for.
        counts += [predicted_counts.total() if gold_counts else 0, gold_counts.total(), matched]
    return counts


def _ngrams(text: str) -> list[Counter[str]]:
    lengths = range(1, ORDERS + 1)
    return [Counter([text[i : i + n] for i in range(len(text) - n + 1)]) for n in lengths]


_cached_ngrams = lru_cache(maxsize=1 << 12)(_ngrams)
"""N-grams of references, which are shared by all systems."""
