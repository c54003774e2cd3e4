"""Models that predict a label from an explanation: a named model, or naive Bayes.

Shared by the probes simulatability and consistency.

    rows = masked_explanations(harness, limited=True)      # label names are masked
    posts = [explanation_post(m.row, m.explanation) for m in rows]
    predict_labels(PredictorSettings(model="student:DIR"), posts, media_root)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gen_msa import prompting
from gen_msa.errors import UserError
from gen_msa.evaluation.probes._bow_classifier import NaiveBayes, NgramMatrix
from gen_msa.evaluation.probes._harness import ProbeHarness, ProbeRow, Trial
from gen_msa.metrics import UndefinedMetric
from gen_msa.metrics.text.explanations import mask_labels
from gen_msa.predictors import PredictorSettings, make
from gen_msa.results import MetricValue
from gen_msa.types import Aspect, Polarity, Post

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
    start = text.find(term) if term else -1
    aspect = Aspect(term=term, start=start if start >= 0 else None)
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
