"""What reads explanations in place of a person: a named reader, or the small model within.

The shared ground of simulatability and consistency. Knows nothing of figures.

    reasons = told(bench, few=True)             # rows that have an explanation, labels masked
    by_reader(ReaderSettings(reader="student:DIR"), [asked(row, "It lasts two days")], root)
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
"""How often reasons are dealt out anew for chance."""

Label = Polarity | None


@dataclass(frozen=True)
class MaskedExplanation:
    """A row and its explanation without the labels' names."""

    row: ProbeRow
    explanation: str


def masked_explanations(harness: ProbeHarness, *, limited: bool) -> list[MaskedExplanation]:
    """The rows that have an explanation; with `few`, of at most `limit` posts.

    Raises `Undefined` when there is none, or when only one label is ever said.
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
    """What the prompt that is set calls the labels; nothing for a reader without a prompt."""
    if not settings.prompt:
        return ()
    try:
        return tuple(prompting.load_prompt(settings.prompt).labels.values())
    except UserError:
        return ()


def explanation_post(row: ProbeRow, text: str) -> Post:
    """A post whose text is `text` and nothing of the row's own, asked about the same aspect."""
    term = row.aspect.term
    start = text.find(term) if term else -1
    aspect = Aspect(term=term, start=start if start >= 0 else None)
    return Post(id=row.post.id, text=text, aspects=(aspect,))


def predict_labels(
    settings: PredictorSettings, posts: Sequence[Post], media_root: Path
) -> list[Label]:
    """What a named reader says of each post's one aspect; None where it says no label."""
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
    """How often labels are hit when reasons are dealt out to other rows: of each row, and in all.

    `guess` gives the guesses when row `i` gets the reason of row `order[i]`; what learns from the
    same rows learns anew each time, because a model that is taught and asked about rows in turn
    falls below chance on reasons that say nothing. The range holds 95 % of the deals.
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
    """What naive Bayes says of each bag, taught by the reader's own labels of other posts."""
    clusters = [t.row.cluster for t in rows]
    return NaiveBayes(features, [t.row.predicted_label for t in rows], clusters).predict(
        features, clusters, harness.seed
    )


def aspect_terms(rows: Sequence[MaskedExplanation]) -> list[str]:
    """The aspect of each row."""
    return [t.row.aspect.term for t in rows]


def build_trials(
    variant: str, rows: Sequence[MaskedExplanation], implied_labels: Sequence[Label]
) -> list[Trial]:
    """The log: what was said, and what the masked reason implies."""
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
