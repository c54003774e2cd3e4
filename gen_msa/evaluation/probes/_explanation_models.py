"""Models that predict a label from an explanation: a named model, or naive Bayes.

Shared by the probes simulatability and consistency.

    rows = masked_explanations(harness, limited=True)      # label names are masked
    posts = [explanation_post(m.row, m.explanation) for m in rows]
    predict_labels(PredictorSettings(model="student:DIR"), posts, media_root)
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from gen_msa import prompting
from gen_msa.data.formats import locate_aspects
from gen_msa.errors import MissingExtra, UserError
from gen_msa.evaluation.probes._harness import ProbeHarness, ProbeRow, Trial, hash_order
from gen_msa.metrics import UndefinedMetric
from gen_msa.metrics.explanation_text import mask_labels
from gen_msa.predictors import PredictorSettings, make
from gen_msa.results import MetricValue
from gen_msa.types import Polarity, Post

# A small text classifier: scikit-learn's naive Bayes on words and word pairs.

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


N_SHUFFLES = 100
"""Number of shuffles for the accuracy by chance."""

Label = Polarity | None


@dataclass(frozen=True)
class MaskedExplanation:
    """A row and its explanation without label names."""

    row: ProbeRow
    explanation: str


def masked_explanations(harness: ProbeHarness, *, limited: bool) -> list[MaskedExplanation]:
    """Return the rows that have an explanation, with label names masked.

    Args:
        harness: The predictions.
        limited: Use at most `harness.limit` posts.

    Raises:
        UndefinedMetric: There is no explanation, or only one label is ever predicted.
    """
    rows = [r for r in harness.rows if (r.prediction.explanation or "").strip()]
    rows = harness.sample_rows(rows) if limited else rows
    if not rows:
        raise UndefinedMetric("the model gives no explanations")
    if len({r.predicted_label for r in rows}) < 2:
        raise UndefinedMetric(
            f"the model predicts only {rows[0].predicted_label}: there is nothing to distinguish"
        )
    names = label_names(harness.settings)
    # A fixed order: the random draws must not depend on the order of the file.
    rows.sort(key=lambda r: (r.post.id, r.aspect.start or 0, r.aspect.term))
    return [MaskedExplanation(r, mask_labels(r.prediction.explanation or "", names)) for r in rows]


def label_names(settings: PredictorSettings) -> tuple[str, ...]:
    """Return the label names of the prompt in the settings; none for a model without a prompt."""
    if not settings.prompt:
        return ()
    try:
        return tuple(prompting.load_prompt(settings.prompt).labels.values())
    except UserError:
        return ()


def explanation_post(row: ProbeRow, text: str) -> Post:
    """Build a post whose text is `text`, with the aspect of the row and nothing else of it.

    Args:
        row: The row whose aspect is kept.
        text: The new text.

    Returns:
        The new post, with the id of the original.
    """
    term = row.aspect.term
    aspect = locate_aspects(text, [term])[0] if term else row.aspect
    return Post(id=row.post.id, text=text, aspects=(aspect,))


def predict_labels(
    settings: PredictorSettings, posts: Sequence[Post], media_root: Path
) -> list[Label]:
    """Predict the label of each post's single aspect with a named model.

    Args:
        settings: The model and its settings.
        posts: Posts with one aspect each.
        media_root: Folder that relative media paths start from.

    Returns:
        A label for each post; None where there is none.
    """
    predictor = make(settings.labels_only(), media_root)
    return [
        prediction.opinions[0].polarity if prediction.opinions else None
        for prediction in predictor.predict(posts)
    ]


def shuffled_accuracy(
    labels: Sequence[Polarity],
    predict: Callable[[list[int]], Sequence[Label]],
    harness: ProbeHarness,
) -> tuple[list[float], MetricValue]:
    """Compute the accuracy when explanations are shuffled among rows.

    A classifier that learns from the same rows must be trained anew for each shuffle: trained and
    queried on alternating rows, it falls below chance on explanations that carry no information.
    The range holds 95 % of the shuffles.

    Args:
        labels: The label of each row.
        predict: Returns the predictions when row `i` gets the explanation of row `order[i]`.
        harness: Provides the random numbers.

    Returns:
        The mean accuracy of each row, and the value over all rows.
    """
    hits = np.zeros((N_SHUFFLES, len(labels)))
    for shuffle_number in range(N_SHUFFLES):
        order = list(range(len(labels)))
        harness.rng("deal", shuffle_number).shuffle(order)
        hits[shuffle_number] = [g is y for g, y in zip(predict(order), labels, strict=True)]
    low, high = np.quantile(hits.mean(axis=1), (0.025, 0.975))
    method = f"explanations of other rows, {N_SHUFFLES} shuffles, seed {harness.seed}"
    value = MetricValue(
        value=float(hits.mean()), n=len(labels), low=float(low), high=float(high), method=method
    )
    return hits.mean(axis=0).tolist(), value


def cross_predict(
    features: NgramMatrix, rows: Sequence[MaskedExplanation], harness: ProbeHarness
) -> list[Polarity]:
    """Predict each row by naive Bayes trained on the model's own labels of other posts.

    Args:
        features: Sparse matrix (rows, features).
        rows: The rows.
        harness: Provides the seed.

    Returns:
        One label per row.
    """
    clusters = [t.row.cluster for t in rows]
    return NaiveBayes(features, [t.row.predicted_label for t in rows], clusters).predict(
        features, clusters, harness.seed
    )


def aspect_terms(rows: Sequence[MaskedExplanation]) -> list[str]:
    """Return the aspect term of each row."""
    return [t.row.aspect.term for t in rows]


def build_trials(
    variant: str, rows: Sequence[MaskedExplanation], implied_labels: Sequence[Label]
) -> list[Trial]:
    """Build the log: the predicted label, and the label that the masked explanation implies.

    Args:
        variant: Name of the variant.
        rows: The rows.
        implied_labels: The implied label of each row.

    Returns:
        One trial per row.
    """
    return [
        Trial(
            variant=variant,
            post=t.row.post.id,
            aspect=t.row.aspect.term,
            start=t.row.aspect.start,
            description=t.explanation,
            gold=t.row.gold_label,
            before=t.row.predicted_label,
            after=label,
        )
        for t, label in zip(rows, implied_labels, strict=True)
    ]
