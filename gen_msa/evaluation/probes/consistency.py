"""Consistency: does the explanation alone, with label names masked, imply the predicted label?

The post is hidden. An explanation model infers a label from the explanation. `consistency` is how
often it equals the model's label; `chance` is the same with shuffled explanations (its range holds
95 % of the shuffles), and `gain` is the difference, the metric to look at. The explanation model is
a model of your choice (e.g. a small student trained on explanations, `student:DIR`), or naive Bayes
on words: trained on gold explanations and labels of other posts where gold has explanations, else
on the model's own. The note says which. Trained on the model's own, it learns the model's phrases:
one phrase per label gives 1.0, whatever is quoted. The probe does not check whether an explanation
is true.

    options = {"consistency": {"explanation_model": {"model": "student:DIR"}}}
    run_probes(options, predictor, settings, examples, predictions, media_root)
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

from gen_msa.evaluation.probes._explanation_models import (
    Label,
    MaskedExplanation,
    NaiveBayes,
    aspect_terms,
    build_trials,
    cross_predict,
    drop_unused_features,
    explanation_post,
    hashed_ngrams,
    masked_explanations,
    predict_labels,
    shuffled_accuracy,
)
from gen_msa.evaluation.probes._harness import (
    ProbeHarness,
    Ratio,
    defined_differences,
    ratio_values,
)
from gen_msa.evaluation.probes.base import ProbeResult, probes
from gen_msa.metrics import MetricSpec
from gen_msa.metrics.explanation_text import mask_labels
from gen_msa.predictors import PredictorSettings
from gen_msa.settings import Settings

PredictShuffled = Callable[[list[int]], Sequence[Label]]

_MIN_GOLD_EXPLANATIONS = 30
"""Minimum number of gold explanations to train on; below it the model's own are used."""


class ConsistencyOptions(Settings):
    """The explanation model."""

    explanation_model: PredictorSettings | None = None
    """A model; None: naive Bayes."""


@probes.register
class Consistency:
    """Infer the label from each explanation."""

    Options: ClassVar[type[Settings]] = ConsistencyOptions
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        MetricSpec("gain", "consistency minus chance"),
        MetricSpec("consistency", "masked explanations that alone imply the predicted label"),
        MetricSpec("chance", "the same with shuffled explanations", "share", ""),
        MetricSpec("explained", "labelled rows that have an explanation"),
    )

    def __init__(self, options: ConsistencyOptions) -> None:
        self._explanation_model = options.explanation_model

    def __call__(self, harness: ProbeHarness) -> ProbeResult:
        """Run the probe.

        Raises:
            UndefinedMetric: There are no explanations, or only one label is predicted.
        """
        rows = masked_explanations(harness, limited=self._explanation_model is not None)
        labels = [t.row.predicted_label for t in rows]
        implied_labels, predict, model_name = self._implied_labels(rows, harness)
        matches = [float(i is y) for i, y in zip(implied_labels, labels, strict=True)]
        chance_by_row, chance = shuffled_accuracy(labels, predict, harness)
        note = f"explanation model: {model_name}"
        ratios = {
            "gain": Ratio(defined_differences(matches, chance_by_row), note=note, signed=True),
            "consistency": Ratio(matches, note=note),
        }
        metrics = ratio_values(ratios, [t.row.cluster for t in rows], harness) | {"chance": chance}
        explained = Ratio(
            [float(bool((r.prediction.explanation or "").strip())) for r in harness.rows]
        )
        metrics |= ratio_values(
            {"explained": explained}, [r.cluster for r in harness.rows], harness
        )
        return ProbeResult(metrics, tuple(build_trials("explanation", rows, implied_labels)))

    def _implied_labels(
        self, rows: list[MaskedExplanation], harness: ProbeHarness
    ) -> tuple[Sequence[Label], PredictShuffled, str]:
        """Infer the label that each explanation implies.

        Returns:
            The labels, a function that infers them from shuffled explanations, and the name of the
                model.
        """
        if self._explanation_model:
            posts = [explanation_post(t.row, t.explanation) for t in rows]
            fixed_labels: Sequence[Label] = predict_labels(
                self._explanation_model, posts, harness.media_root
            )
            return (
                fixed_labels,
                lambda order: [fixed_labels[i] for i in order],
                self._explanation_model.model,
            )
        features = hashed_ngrams([t.explanation for t in rows], aspect_terms(rows))
        clusters = [t.row.cluster for t in rows]
        gold_classifier = _gold_classifier(harness)
        if gold_classifier is None:
            model_name = "naive Bayes on the model's own explanations of other posts"
            features = drop_unused_features(features)
            return (
                cross_predict(features, rows, harness),
                lambda o: cross_predict(features[o], rows, harness),
                model_name,
            )
        predictions = gold_classifier.predict(features, clusters, harness.seed)
        model_name = "naive Bayes on gold explanations of other posts"
        return predictions, lambda order: [predictions[i] for i in order], model_name


def _gold_classifier(harness: ProbeHarness) -> NaiveBayes | None:
    """Train on gold explanations with label names masked; None where there are too few."""
    rows = [(r, r.gold.explanation, r.gold.polarity) for r in harness.rows if r.gold]
    usable = [(r, explanation, label) for r, explanation, label in rows if explanation and label]
    if len(usable) < _MIN_GOLD_EXPLANATIONS:
        return None
    texts = [mask_labels(explanation) for _, explanation, _ in usable]
    features = hashed_ngrams(texts, [r.aspect.term for r, _, _ in usable])
    return NaiveBayes(features, [y for _, _, y in usable], [r.cluster for r, _, _ in usable])
