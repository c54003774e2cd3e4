"""A small model that guesses a label from words: naive Bayes on hashed words and pairs of words.

The stand-in for a person who reads an explanation. It never guesses about a row that it has seen
anything of: rows of one cluster (picture, post) are in one fold, and each fold is guessed by a
model of the others. Knows nothing of readers.

    Taught(bags(texts, terms), labels, clusters).guess(bags(texts, terms), clusters, seed=0)
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gen_msa.evaluating.probing._bench import order
from gen_msa.metrics import Undefined
from gen_msa.types import Polarity

FOLDS = 5
_FEATURES = 1 << 13
"""Places that words and pairs are hashed to; some share one, which costs little here."""
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")
_CLASSES = tuple(Polarity)

Bags = NDArray[np.float32]
"""(texts, features): 1 where a text has the word or pair."""


def bags(texts: Sequence[str], terms: Sequence[str]) -> Bags:
    """What words and pairs of neighbours each text has; its aspect's term is one word, `aspect`."""
    found = np.zeros((len(texts), _FEATURES), dtype=np.float32)
    for row, (text, term) in enumerate(zip(texts, terms, strict=True)):
        if term:
            text = re.sub(re.escape(term), " aspectword ", text, flags=re.IGNORECASE)
        words = _WORD.findall(text.lower())
        for said in [*words, *(f"{a} {b}" for a, b in pairwise(words))]:
            found[row, zlib.crc32(said.encode("utf-8", "surrogatepass")) % _FEATURES] = 1
    return found


def packed(found: Bags) -> Bags:
    """Without the features that no text has: the same guesses, sooner."""
    return found[:, found.any(axis=0)]


def folds(clusters: Sequence[str], seed: int) -> dict[str, int]:
    """The fold of each cluster, spread evenly in an order drawn by the seed.

    Raises `Undefined` below two clusters.
    """
    ids = sorted(set(clusters), key=lambda c: order(seed, "fold", c))
    if len(ids) < 2:
        raise Undefined("all rows are of one post or picture: nothing is left to learn from")
    return {c: i % FOLDS for i, c in enumerate(ids)}


@dataclass(frozen=True)
class Taught:
    """Texts with their labels, and the cluster of each."""

    bags: Bags
    labels: Sequence[Polarity]
    clusters: Sequence[str]

    def guess(self, asked: Bags, clusters: Sequence[str], seed: int) -> list[Polarity]:
        """A label for each of `asked`, from what is taught about other folds of `clusters`.

        Raises `Undefined` where that is nothing.
        """
        fold = folds(clusters, seed)
        mine = np.array([fold[c] for c in clusters])
        theirs = np.array([fold.get(c, -1) for c in self.clusters])
        said = np.array([[y is c for c in _CLASSES] for y in self.labels], dtype=np.float32)
        counts, prior = said.T @ self.bags, said.sum(axis=0)
        best = np.zeros(len(clusters), dtype=np.int64)
        for f in np.unique(mine):
            own = theirs == f
            left = counts - said[own].T @ self.bags[own], prior - said[own].sum(axis=0)
            best[mine == f] = _likeliest(asked[mine == f], *left)
        return [_CLASSES[i] for i in best]


def _likeliest(asked: Bags, counts: Bags, prior: Bags) -> NDArray[np.int64]:
    """The class of each row; add-one over the features of training, others are no sign."""
    if not prior.any():
        raise Undefined("there is nothing to learn from in any other fold")
    known = counts.any(axis=0)
    total = np.maximum(counts.sum(axis=1, keepdims=True) + known.sum(), 1)
    smooth = (counts + 1) / total
    loglike = np.where(known, np.log(smooth, where=known, out=np.zeros_like(smooth)), 0)
    with np.errstate(divide="ignore"):  # a class that training lacks is never guessed
        scores = asked @ loglike.T + np.log(prior / prior.sum())
    found: NDArray[np.int64] = scores.argmax(axis=1)
    return found
