"""What all probes share: registry, sampling, ratios with intervals, and rejected input."""

from pathlib import Path

import numpy as np
import pytest

from gen_msa.errors import UserError
from gen_msa.evaluation.probes import probes, run_probes
from gen_msa.evaluation.probes._harness import ProbeHarness, Ratio, ratio_values
from gen_msa.predictors import Prediction, PredictorSettings, make
from gen_msa.results import MetricValue
from gen_msa.types import Opinion, Status
from tests.evaluation.probes.fake_predictors import (
    FakePredictor,
    decided_examples,
    kettle_post,
    polarity_by_word,
    run_probe,
    with_gold,
)
from tests.fixtures.posts import write_posts

EXAMPLES = decided_examples(30)
HARNESS = ProbeHarness(
    FakePredictor(polarity_by_word), PredictorSettings(), Path(), (), seed=3, replicates=2000
)


def quote_deciding_word(post, aspect):
    return next((w for w in ("dreadful", "splendid", "plain") if w in post.text), "")


def explain_with_quote(post, aspect, label):
    return f'It says "{quote_deciding_word(post, aspect)}".'


def test_registry_lists_six_probes():
    assert probes.names() == [
        "aspect_swap", "consistency", "cue_swap", "erasure", "image_ablation", "simulatability",
    ]  # fmt: skip


@pytest.mark.parametrize("name", probes.names())
def test_probe_metrics_match_declared_specs(name):
    predictor = FakePredictor(polarity_by_word, explain_with_quote, quote_deciding_word)
    result = run_probe(name, predictor, EXAMPLES)
    assert list(result.metrics) == [f.name for f in probes[name].specs]
    for value in result.metrics.values():
        assert value.value is not None or value.note
        assert value.low is None or value.low <= value.value <= value.high


@pytest.mark.parametrize("name", ["erasure", "aspect_swap"])
def test_probe_depends_on_seed_but_not_on_row_order(name):
    def run_with_seed(examples, seed):
        predictor = FakePredictor(polarity_by_word, explain_with_quote, quote_deciding_word)
        result = run_probe(name, predictor, examples, seed=seed, limit=9)
        return {t.post for t in result.trials}, {k: v.value for k, v in result.metrics.items()}

    sampled_posts, metrics = run_with_seed(EXAMPLES, 0)
    assert (sampled_posts, metrics) == run_with_seed(EXAMPLES[::-1], 0)
    assert len(sampled_posts) == 9
    assert sampled_posts != run_with_seed(EXAMPLES, 1)[0]
    predictor = FakePredictor(polarity_by_word, explain_with_quote, quote_deciding_word)
    larger_sample = run_probe(name, predictor, EXAMPLES, limit=20)
    assert sampled_posts <= {t.post for t in larger_sample.trials}


def test_probe_ignores_predictions_without_label():
    predictions = [
        Prediction((Opinion(annotator="r", aspect=e.post.aspects[0], status=Status.EMPTY),))
        for e in EXAMPLES
    ]
    predictor = FakePredictor(polarity_by_word)
    results = run_probes(
        ["aspect_swap"], predictor, PredictorSettings(), EXAMPLES, predictions, Path()
    )
    assert "not applicable" in results["aspect_swap"].metrics["followed"].note
    assert predictor.received_posts == []


def test_probe_is_undefined_for_recorded_predictions(tmp_path):
    predictor = FakePredictor(polarity_by_word, explain_with_quote, quote_deciding_word)
    recorded = [e.with_opinions(predictor.opinion(e.post, e.post.aspects[0])) for e in EXAMPLES]
    path = write_posts(tmp_path / "posts.jsonl", [])
    path.write_text("\n".join(e.model_dump_json() for e in recorded) + "\n")
    settings = PredictorSettings(model=f"recorded:{path}#double")
    result = run_probe("aspect_swap", make(settings, tmp_path), EXAMPLES, settings=settings)
    assert result.metrics["rename_flip_rate"].value is None
    assert "30 of 30 could not be predicted" in result.metrics["rename_flip_rate"].note
    assert "has another text" in result.trials[0].note


def test_probe_reuses_aspects_found_by_the_predictor():
    post_without_aspects = kettle_post(0, "dreadful").model_copy(update={"aspects": ()})
    aspect = kettle_post(0, "dreadful").aspects[0]
    predictor = FakePredictor(polarity_by_word, quote=quote_deciding_word)
    predictions = [Prediction((predictor.opinion(post_without_aspects, aspect),))] * 2
    other_post = post_without_aspects.model_copy(update={"id": "other"})
    run_probes(
        ["erasure"],
        predictor,
        PredictorSettings(),
        [with_gold(post_without_aspects), with_gold(other_post)],
        predictions,
        Path(),
    )
    assert {p.aspects for p in predictor.received_posts} == {(aspect,)}


def test_run_probes_rejects_unknown_names_and_uneven_lists():
    with pytest.raises(UserError, match="did you mean 'erasure'"):
        run_probes(
            ["erasures"], FakePredictor(polarity_by_word), PredictorSettings(), [], [], Path()
        )
    with pytest.raises(ValueError, match="shorter"):
        run_probes(
            ["erasure"], FakePredictor(polarity_by_word), PredictorSettings(), EXAMPLES, [], Path()
        )


def test_ratio_interval_resamples_whole_clusters():
    numerators = [1.0] * 50 + [0.0] * 50
    per_row = ratio_values({"x": Ratio(numerators)}, [str(i) for i in range(100)], HARNESS)["x"]
    clustered = ratio_values({"x": Ratio(numerators)}, [str(i // 10) for i in range(100)], HARNESS)[
        "x"
    ]
    assert per_row.value == clustered.value == 0.5
    assert clustered.high - clustered.low > 2 * (per_row.high - per_row.low)
    assert (
        per_row.method == "cluster bootstrap, 2000 replicates, seed 3, Wilson form with t of 99 df"
    )


def test_ratio_values_by_hand():
    clusters = ["a", "a", "b", "c"]
    metrics = ratio_values(
        {
            "mean": Ratio([1.0, None, 0.5, None], note="k"),
            "ratio": Ratio([1.0, 0.0, 1.0, None], [1.0, 1.0, 0.0, 1.0]),
            "none": Ratio([None] * 4, note="why"),
            "zero": Ratio([0.0] * 4, [0.0] * 4),
        },
        clusters,
        HARNESS,
    )
    assert (metrics["mean"].value, metrics["mean"].n, metrics["mean"].note) == (
        *(0.75, 2),
        "no interval: 2 clusters, at least 5 are needed; k",
    )
    assert (metrics["ratio"].value, metrics["ratio"].n) == (1.0, 3)
    assert metrics["none"] == MetricValue(value=None, n=0, note="undefined: no row counts; why")
    assert metrics["zero"].note == "undefined: division by zero"


def test_ratio_values_of_one_cluster_have_no_interval():
    metric = ratio_values({"x": Ratio([1.0, 0.0])}, ["a", "a"], HARNESS)["x"]
    assert (metric.value, metric.low) == (0.5, None)
    assert "1 cluster" in metric.note


def test_ratio_interval_has_nominal_coverage():
    rng, n_covered = np.random.default_rng(0), 0
    for seed in range(100):
        sample = [float(x) for x in rng.random(60) < 0.3]
        harness = ProbeHarness(
            HARNESS.predictor, HARNESS.settings, Path(), (), seed=seed, replicates=400
        )
        metric = ratio_values({"x": Ratio(sample)}, [str(i) for i in range(60)], harness)["x"]
        n_covered += metric.low <= 0.3 <= metric.high
    assert 86 <= n_covered <= 100
