"""BLEU of explanations against the reference, equal to sacrebleu's, with its signature.

The row statistics are the counts that BLEU is computed from (n-grams and lengths), so any sample of
rows gets its own corpus BLEU. Corpus BLEU is 0 for texts of fewer than four words, even equal ones;
`sentence_bleu` omits the orders that a text is too short for. Source: Papineni et al. (2002), Post
(2018).

    metrics["bleu"](language="zh").row_statistics(pairs)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from gen_msa.metrics import _reference_based as references
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics._reference_based import LANGUAGE_PATTERN, UNSPACED, TextPair, check_language
from gen_msa.metrics._thresholds import Array, nan_divide
from gen_msa.metrics.base import MetricSpec, metrics
from gen_msa.settings import Settings, build

ORDERS = 4


class BleuOptions(Settings):
    """Tokenization."""

    language: str = Field(default="en", pattern=LANGUAGE_PATTERN)
    """`zh`: sacrebleu's `zh`; another language without spaces: `char`; any other: `13a`."""
    lowercase: bool = False


@metrics.register
class Bleu:
    """Corpus BLEU and the mean of sentence BLEU, both 0..100."""

    specs: tuple[MetricSpec, ...] = (
        MetricSpec(
            "bleu", "corpus BLEU-4, smoothing exp; a missing explanation is empty", "points"
        ),
        MetricSpec("sentence_bleu", "mean sentence BLEU, effective order; missing is 0", "points"),
    )

    def __init__(self, **options: Any) -> None:
        self.options = build(BleuOptions, options, "metric bleu")
        bleu_factory = references.import_optional("sacrebleu.metrics", "sacrebleu", "eval").BLEU
        bleu_options = {
            "tokenize": sacrebleu_tokenizer(self.options.language),
            "lowercase": self.options.lowercase,
        }
        self._corpus, self._sentence = (
            bleu_factory(**bleu_options),
            bleu_factory(effective_order=True, **bleu_options),
        )
        for scorer in (self._corpus, self._sentence):
            scorer.corpus_score(["a"], [["a"]])  # the signature includes the number of references
        self.signature = (
            f"bleu {self._corpus.get_signature()}; sentence {self._sentence.get_signature()}"
        )

    def row_statistics(self, pairs: Sequence[Pair]) -> Array:
        """Return the columns: scored, sentence BLEU, lengths, 4 matched and 4 predicted n-grams."""
        return references.score_rows(pairs, self._measure, 3 + 2 * ORDERS)

    def compute(self, sums: Array) -> dict[str, Array]:
        """Return corpus BLEU of the summed counts, and the mean sentence BLEU.

        Args:
            sums: Sums of `row_statistics`, `(..., 12)`; each metric is `(...,)`.
        """
        n_matched, n_predicted = sums[..., 4 : 4 + ORDERS], sums[..., 4 + ORDERS :]
        bleu = corpus_bleu(sums[..., 2], sums[..., 3], n_matched, n_predicted)
        return {
            "bleu": np.where(sums[..., 0] > 0, bleu, np.nan),
            "sentence_bleu": nan_divide(sums[..., 1], sums[..., 0]),
        }

    def _measure(self, texts: list[TextPair]) -> list[list[float]]:
        check_language((gold for _, gold in texts), self.options.language)
        scores = [self._sentence.sentence_score(prediction, [gold]) for prediction, gold in texts]
        return [[s.score, s.sys_len, s.ref_len, *s.counts, *s.totals] for s in scores]


def sacrebleu_tokenizer(language: str) -> str:
    """Return sacrebleu's name of the tokenizer for a language."""
    return "zh" if language == "zh" else "char" if language in UNSPACED else "13a"


def corpus_bleu(
    prediction_length: Array, gold_length: Array, matched: Array, total: Array
) -> Array:
    """Compute BLEU in 0..100 with smoothing `exp`.

    The k-th order without a match counts as 1 / 2^k matches; BLEU is 0 if an order has no n-gram at
    all.

    Args:
        prediction_length: Words of the predictions, `(...,)`.
        gold_length: Words of the references, `(...,)`.
        matched: Matched n-grams of each order, `(..., 4)`.
        total: Predicted n-grams of each order, `(..., 4)`.

    Returns:
        BLEU, `(...,)`.
    """
    no_match = matched == 0
    smoothed = np.where(no_match, 0.5 ** np.cumsum(no_match, axis=-1), matched)
    is_zero = no_match.all(axis=-1) | (total == 0).any(axis=-1)
    precision = np.divide(smoothed, total, out=np.ones_like(total), where=total > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        brevity = np.where(
            prediction_length < gold_length, np.exp(1 - gold_length / prediction_length), 1.0
        )
    score = 100 * brevity * np.exp(np.log(precision).mean(axis=-1))
    return np.where(is_zero, 0.0, score)
