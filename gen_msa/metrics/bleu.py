"""BLEU of explanations against gold's, by sacrebleu, with its signature.

What adds up over rows is what BLEU is made of (matched and said n-grams, lengths), so the figure of
any sample of rows is that sample's own corpus BLEU. Corpus BLEU is 0 for texts of fewer than four
words, even equal ones; `sentence_bleu` leaves out the orders that a text is too short for.

    metrics["bleu"](language="zh").rows(pairs)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from gen_msa.metrics import _references as references
from gen_msa.metrics._cuts import Array, ratio
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics._references import Texts
from gen_msa.metrics._words import CODE, UNSPACED, check_language
from gen_msa.metrics.base import Figure, metrics
from gen_msa.settings import Settings, build

ORDERS = 4


class BleuOptions(Settings):
    """How texts become words."""

    language: str = Field(default="en", pattern=CODE)
    """`zh`: sacrebleu's `zh`; another one without blanks: its `char`; any other: its `13a`."""
    lowercase: bool = False


@metrics.register
class Bleu:
    """Corpus BLEU and the mean of sentence BLEU, both 0..100."""

    figures: tuple[Figure, ...] = (
        Figure("bleu", "corpus BLEU-4, smoothing exp; a missing explanation is empty", "points"),
        Figure("sentence_bleu", "mean sentence BLEU, effective order; missing is 0", "points"),
    )

    def __init__(self, **options: Any) -> None:
        self.options = build(BleuOptions, options, "metric bleu")
        made = references.need("sacrebleu.metrics", "sacrebleu", "eval").BLEU
        how = {"tokenize": tokenizer(self.options.language), "lowercase": self.options.lowercase}
        self._corpus, self._sentence = made(**how), made(effective_order=True, **how)
        for one in (self._corpus, self._sentence):
            one.corpus_score(["a"], [["a"]])  # a signature says how many references there were
        self.signature = (
            f"bleu {self._corpus.get_signature()}; sentence {self._sentence.get_signature()}"
        )

    def rows(self, pairs: Sequence[Pair]) -> Array:
        """Columns: scored, sentence BLEU, words said and gold, 4 matched and 4 said n-grams."""
        return references.rows(pairs, self._measure, 3 + 2 * ORDERS)

    def values(self, sums: Array) -> dict[str, Array]:
        """Corpus BLEU of the summed counts, and the mean of the sentences'."""
        matched, said = sums[..., 4 : 4 + ORDERS], sums[..., 4 + ORDERS :]
        bleu = corpus_bleu(sums[..., 2], sums[..., 3], matched, said)
        return {
            "bleu": np.where(sums[..., 0] > 0, bleu, np.nan),
            "sentence_bleu": ratio(sums[..., 1], sums[..., 0]),
        }

    def _measure(self, texts: list[Texts]) -> list[list[float]]:
        check_language((gold for _, gold in texts), self.options.language)
        scores = [self._sentence.sentence_score(said, [gold]) for said, gold in texts]
        return [[s.score, s.sys_len, s.ref_len, *s.counts, *s.totals] for s in scores]


def tokenizer(language: str) -> str:
    """Sacrebleu's name of the tokeniser for a language."""
    return "zh" if language == "zh" else "char" if language in UNSPACED else "13a"


def corpus_bleu(said: Array, gold: Array, matched: Array, total: Array) -> Array:
    """BLEU in 0..100 with smoothing `exp`: lengths (...,), n-grams (..., 4) -> (...,).

    The k-th order without a match counts as 1 / 2^k matches; 0 when an order has no n-gram at all.
    """
    none = matched == 0
    halved = np.where(none, 0.5 ** np.cumsum(none, axis=-1), matched)
    zero = none.all(axis=-1) | (total == 0).any(axis=-1)
    precision = np.divide(halved, total, out=np.ones_like(total), where=total > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        brevity = np.where(said < gold, np.exp(1 - gold / said), 1.0)
    score = 100 * brevity * np.exp(np.log(precision).mean(axis=-1))
    return np.where(zero, 0.0, score)
