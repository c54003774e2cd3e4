"""A small text classifier: scikit-learn's naive Bayes on words and word pairs.

It replaces a person who reads an explanation. A row is never predicted by a model that was trained
on its cluster: rows of one cluster (image, post) are in one fold, and each fold is predicted by a
model trained on the others.

    features = hashed_ngrams(texts, terms)
    NaiveBayes(features, labels, clusters).predict(features, clusters, seed=0)
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from gen_msa.errors import MissingExtra
from gen_msa.evaluation.probes._harness import hash_order
from gen_msa.metrics import UndefinedMetric
from gen_msa.types import Polarity

N_FOLDS = 5
_FEATURES = 1 << 20
"""Size of the hash space; so large that collisions are rare."""
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")
_CLASSES = tuple(Polarity)

NgramMatrix = Any
"""A sparse matrix (texts, features): 1 where a text has the word or pair."""


def hashed_ngrams(texts: Sequence[str], terms: Sequence[str]) -> NgramMatrix:
    """Return the words and pairs of adjacent words of each text.

    Args:
        texts: The texts.
        terms: The aspect term of each text, which becomes one special word.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    masked_texts = [
        re.sub(re.escape(term), " aspectword ", text, flags=re.IGNORECASE) if term else text
        for text, term in zip(texts, terms, strict=True)
    ]
    # A lone surrogate cannot be hashed.
    return _vectorizer().transform(t.encode("utf-8", "replace").decode() for t in masked_texts)


def drop_unused_features(features: NgramMatrix) -> NgramMatrix:
    """Drop the columns that no text uses: the same predictions, faster."""
    return features[:, np.unique(features.indices)]


def assign_folds(clusters: Sequence[str], seed: int) -> dict[str, int]:
    """Assign clusters to folds of equal size, in an order that depends on the seed only.

    Args:
        clusters: The cluster of each row.
        seed: Seed of the order.

    Returns:
        Cluster -> fold.

    Raises:
        UndefinedMetric: There are fewer than two clusters.
    """
    ids = sorted(set(clusters), key=lambda c: hash_order(seed, "fold", c))
    if len(ids) < 2:
        raise UndefinedMetric("all rows are of one post or image: nothing is left to learn from")
    return {c: i % N_FOLDS for i, c in enumerate(ids)}


@dataclass(frozen=True)
class NaiveBayes:
    """Training texts with their labels, and the cluster of each."""

    features: NgramMatrix
    labels: Sequence[Polarity]
    clusters: Sequence[str]

    def predict(self, queries: NgramMatrix, clusters: Sequence[str], seed: int) -> list[Polarity]:
        """Predict a label for each query from training rows of other folds.

        Args:
            queries: Sparse matrix (queries, features).
            clusters: The cluster of each query.
            seed: Seed of the folds.

        Returns:
            One label per query.

        Raises:
            UndefinedMetric: A fold has no training rows in other folds.
        """
        fold = assign_folds(clusters, seed)
        query_folds = np.array([fold[c] for c in clusters])
        train_folds = np.array([fold.get(c, -1) for c in self.clusters])
        labels = np.array([_CLASSES.index(y) for y in self.labels])
        predicted = np.zeros(len(clusters), dtype=np.int64)
        for held_out in np.unique(query_folds):
            in_training = train_folds != held_out
            if not in_training.any():
                raise UndefinedMetric("there is nothing to learn from in any other fold")
            train_features = self.features[in_training]
            columns = np.unique(train_features.indices)  # words unseen in training say nothing
            model = _fit(train_features[:, columns], labels[in_training])
            is_query = query_folds == held_out
            predicted[is_query] = model.predict(queries[is_query][:, columns])
        return [_CLASSES[i] for i in predicted]


@cache
def _vectorizer() -> Any:
    try:
        from sklearn.feature_extraction.text import HashingVectorizer
    except ImportError:
        raise MissingExtra("scikit-learn", "eval") from None
    return HashingVectorizer(
        tokenizer=_WORD.findall,
        token_pattern=None,
        ngram_range=(1, 2),
        n_features=_FEATURES,
        binary=True,
        norm=None,
        alternate_sign=False,
    )


def _fit(features: NgramMatrix, labels: Any) -> Any:
    """Fit naive Bayes with add-one smoothing, or the label frequencies where no text has a word."""
    from sklearn.dummy import DummyClassifier
    from sklearn.naive_bayes import MultinomialNB

    model = MultinomialNB(alpha=1.0) if features.shape[1] else DummyClassifier(strategy="prior")
    return model.fit(features, labels)
