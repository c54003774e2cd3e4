"""chrF2 of explanations against gold's: character n-grams, hence no words and no language.

Counts add up over rows, so the figure of any sample of rows is that sample's own corpus chrF, equal
to sacrebleu's, whose signature is printed.

    metrics["chrf"]().rows(pairs)
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from gen_msa.metrics import _references as references
from gen_msa.metrics._cuts import Array, ratio
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics._references import Texts
from gen_msa.metrics.base import Figure, metrics
from gen_msa.settings import Settings, build

ORDERS = 6
BETA = 2


class ChrfOptions(Settings):
    """How texts become characters."""

    lowercase: bool = False


@metrics.register
class Chrf:
    """Corpus chrF and the mean of sentence chrF, both 0..100."""

    figures: tuple[Figure, ...] = (
        Figure("chrf", "corpus chrF2, 6 orders, no blanks; a missing one is empty", "points"),
        Figure("sentence_chrf", "mean sentence chrF2; a missing explanation is 0", "points"),
    )

    def __init__(self, **options: Any) -> None:
        self.options = build(ChrfOptions, options, "metric chrf")
        made = references.need("sacrebleu.metrics", "sacrebleu", "eval").CHRF
        peer = made(char_order=ORDERS, beta=BETA, lowercase=self.options.lowercase)
        peer.corpus_score(["a"], [["a"]])  # a signature says how many references there were
        self.signature = f"chrf {peer.get_signature()}"

    def rows(self, pairs: Sequence[Pair]) -> Array:
        """Columns: scored, sentence chrF, then said, gold and matched of orders 1 to 6."""
        return references.rows(pairs, self._measure, 1 + 3 * ORDERS)

    def values(self, sums: Array) -> dict[str, Array]:
        """Corpus chrF of the summed counts, and the mean of the sentences'."""
        score = chrf(sums[..., 2:])
        return {
            "chrf": np.where(sums[..., 0] > 0, score, np.nan),
            "sentence_chrf": ratio(sums[..., 1], sums[..., 0]),
        }

    def _measure(self, texts: list[Texts]) -> list[list[float]]:
        if self.options.lowercase:
            texts = [(said.lower(), gold.lower()) for said, gold in texts]
        counts = np.array([_counts(said, gold) for said, gold in texts], dtype=np.float64)
        rows: list[list[float]] = np.column_stack([chrf(counts), counts]).tolist()
        return rows


def chrf(counts: Array) -> Array:
    """ChrF2 in 0..100 of said, gold and matched n-grams of each order: (..., 18) -> (...,).

    Orders that either side is too short for are left out of the means of precision and recall.
    """
    said, gold, matched = (counts[..., i::3] for i in range(3))
    use = (said > 0) & (gold > 0)
    orders = use.sum(axis=-1)
    zeros = np.zeros_like(said)
    precision = ratio(np.divide(matched, said, out=zeros.copy(), where=use).sum(axis=-1), orders)
    recall = ratio(np.divide(matched, gold, out=zeros, where=use).sum(axis=-1), orders)
    score = ratio((1 + BETA**2) * precision * recall, BETA**2 * precision + recall)
    return 100 * np.nan_to_num(score)


def _counts(said: str, gold: str) -> list[int]:
    counts: list[int] = []
    ours = _grams("".join(said.split()))
    for mine, theirs in zip(ours, _known("".join(gold.split())), strict=True):
        matched = sum(min(k, theirs[gram]) for gram, k in mine.items() if gram in theirs)
        # sacrebleu counts nothing of an order that the reference is too short for.
        counts += [mine.total() if theirs else 0, theirs.total(), matched]
    return counts


def _grams(text: str) -> list[Counter[str]]:
    lengths = range(1, ORDERS + 1)
    return [Counter([text[i : i + n] for i in range(len(text) - n + 1)]) for n in lengths]


_known = lru_cache(maxsize=1 << 12)(_grams)
"""N-grams of a reference, which several readers are held against."""
