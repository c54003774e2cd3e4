"""Simulatability: is the model's label easier to predict from its explanation than from its input?

A simulator predicts the model's label (not gold) from the explanation alone, with label names
masked, and from the post alone; `gain` is the difference. An explanation that states the label in
other words is easy to predict from and explains nothing: `quotes_gain` is the same for the quoted
words alone, over rows that quote some. The simulator is a model of your choice, or naive Bayes on
words, trained on the model's own answers to other posts. Naive Bayes reads words, not images, and
is weak on few rows; use its metrics to compare models on the same rows, not as absolute values.
Intervals are about the rows, not about another fit of the simulator; the range of `chance` holds 95
% of the shuffles.

    options = {"simulatability": {"simulator": {"model": "builtin"}}}
    run_probes(options, predictor, settings, examples, predictions, media_root)
"""

from collections.abc import Sequence
from typing import ClassVar

from gen_msa.evaluation.probes._explanation_models import (
    Label,
    MaskedExplanation,
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
    ProbeRow,
    Ratio,
    defined_differences,
    ratio_values,
)
from gen_msa.evaluation.probes.base import ProbeResult, probes
from gen_msa.metrics import MetricSpec
from gen_msa.predictors import PredictorSettings
from gen_msa.results import MetricValue
from gen_msa.settings import Settings


class SimulatabilityOptions(Settings):
    """The simulator."""

    simulator: PredictorSettings | None = None
    """A model; None: naive Bayes."""


@probes.register
class Simulatability:
    """Predict labels from explanations and from posts."""

    Options: ClassVar[type[Settings]] = SimulatabilityOptions
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        MetricSpec("gain", "accuracy from the masked explanation minus accuracy from the post"),
        MetricSpec(
            "from_explanation", "labels predicted correctly from the masked explanation alone"
        ),
        MetricSpec("from_input", "labels predicted correctly from the post alone", "share", ""),
        MetricSpec(
            "quotes_gain", "accuracy from the quoted words alone minus accuracy from the post"
        ),
        MetricSpec("from_quotes", "labels predicted correctly from the quoted words alone"),
        MetricSpec("chance", "accuracy from shuffled explanations", "share", ""),
        MetricSpec("explained", "labelled rows that have an explanation"),
    )

    def __init__(self, options: SimulatabilityOptions) -> None:
        self._simulator = options.simulator

    def __call__(self, harness: ProbeHarness) -> ProbeResult:
        """Run the probe.

        Raises:
            UndefinedMetric: There are no explanations, or only one label is predicted.
        """
        rows = masked_explanations(harness, limited=self._simulator is not None)
        labels = [t.row.predicted_label for t in rows]
        explanation_predictions, input_predictions, chance = self._simulate(rows, harness)
        quote_texts = [MaskedExplanation(t.row, quoted_text(t.row)) for t in rows]
        quote_predictions = self._predict(quote_texts, harness)
        explanation_hits = [
            float(g is y) for g, y in zip(explanation_predictions, labels, strict=True)
        ]
        input_hits = [float(g is y) for g, y in zip(input_predictions, labels, strict=True)]
        simulator_name = (
            self._simulator.model if self._simulator else "naive Bayes on answers to other posts"
        )
        note = f"simulator: {simulator_name}"
        # A row without quotes would reveal its label by that alone.
        pairs = zip(quote_predictions, labels, quote_texts, strict=True)
        quote_hits: list[float | None] = [
            float(g is y) if quoted.explanation else None for g, y, quoted in pairs
        ]
        ratios = {
            "gain": Ratio(
                defined_differences(explanation_hits, input_hits), note=note, signed=True
            ),
            "from_explanation": Ratio(explanation_hits, note=note),
            "from_input": Ratio(input_hits, note=note),
            "quotes_gain": Ratio(
                defined_differences(quote_hits, input_hits), note=note, signed=True
            ),
            "from_quotes": Ratio(quote_hits, note=note),
        }
        metrics = ratio_values(ratios, [t.row.cluster for t in rows], harness) | {"chance": chance}
        explained = Ratio(
            [float(bool((r.prediction.explanation or "").strip())) for r in harness.rows]
        )
        metrics |= ratio_values(
            {"explained": explained}, [r.cluster for r in harness.rows], harness
        )
        log = build_trials("explanation", rows, explanation_predictions) + build_trials(
            "input", rows, input_predictions
        )
        return ProbeResult(metrics, tuple(log))

    def _simulate(
        self, rows: list[MaskedExplanation], harness: ProbeHarness
    ) -> tuple[Sequence[Label], Sequence[Label], MetricValue]:
        """Return predictions from explanations and from posts, and the accuracy after shuffling."""
        labels = [t.row.predicted_label for t in rows]
        explanation_predictions = self._predict(rows, harness)
        if self._simulator:
            posts = [t.row.post.model_copy(update={"aspects": (t.row.aspect,)}) for t in rows]
            post_predictions: Sequence[Label] = predict_labels(
                self._simulator, posts, harness.media_root
            )
            _, chance = shuffled_accuracy(
                labels, lambda order: [explanation_predictions[i] for i in order], harness
            )
            return explanation_predictions, post_predictions, chance
        explanation_features = drop_unused_features(
            hashed_ngrams([t.explanation for t in rows], aspect_terms(rows))
        )
        _, chance = shuffled_accuracy(
            labels, lambda order: cross_predict(explanation_features[order], rows, harness), harness
        )
        post_features = hashed_ngrams([t.row.post.text for t in rows], aspect_terms(rows))
        return explanation_predictions, cross_predict(post_features, rows, harness), chance

    def _predict(self, rows: list[MaskedExplanation], harness: ProbeHarness) -> Sequence[Label]:
        """Return the label that each text implies, without the post."""
        if self._simulator:
            posts = [explanation_post(t.row, t.explanation) for t in rows]
            return predict_labels(self._simulator, posts, harness.media_root)
        return cross_predict(
            hashed_ngrams([t.explanation for t in rows], aspect_terms(rows)), rows, harness
        )


def quoted_text(row: ProbeRow) -> str:
    """Return the words of the post that the model quotes; "" where it quotes none."""
    return " ... ".join(e.quote for e in row.prediction.evidence if e.start is not None)
