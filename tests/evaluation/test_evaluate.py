"""One result from posts with opinions: every metric can be recomputed by hand from the rows."""

import random
from pathlib import Path

import pytest

from gen_msa.errors import UserError
from gen_msa.evaluation import EvaluationData, SystemOutput, check_suite, evaluate
from gen_msa.evaluation.suite import Suite
from gen_msa.types import Polarity
from tests.evaluation.phone_examples import example

LABELS = [p.value for p in Polarity]


def make_data(examples):
    return EvaluationData(tuple(examples), Path(), "posts.jsonl", "0" * 64)


def make_suite(**overrides):
    defaults = {"data": "posts.jsonl", "metrics": ["labels", "calibration"], "replicates": 200}
    return Suite(**(defaults | overrides))


def random_examples(n, seed=0, p_correct=0.7, include_unparsed=True):
    """Build posts for which `good` is correct with probability `p_correct` and `bad` is random."""
    choices = [*LABELS, ""] if include_unparsed else LABELS
    rng = random.Random(seed)
    examples = []
    for i in range(n):
        gold = rng.choice(LABELS)
        good_label = gold if rng.random() < p_correct else rng.choice(LABELS)
        examples.append(example(i, gold, f"{i // 2}.jpg", good=good_label, bad=rng.choice(choices)))
    return examples


def test_evaluate_metrics_match_the_rows():
    examples = random_examples(60)
    result = evaluate(make_suite(), make_data(examples))
    assert [r.name for r in result.systems] == ["good", "bad"]
    assert (result.posts, result.rows, result.clusters) == (60, 60, 30)
    for system in result.systems:
        pairs = [(e.opinions_by("gold")[0], e.opinions_by(system.name)[0]) for e in examples]
        n_correct = sum(g.polarity == o.polarity for g, o in pairs)
        accuracy = system.metrics["labels"]["accuracy"]
        assert accuracy.value == pytest.approx(n_correct / 60)
        assert accuracy.low < accuracy.value < accuracy.high
        assert accuracy.method == (
            "cluster bootstrap, 200 replicates, seed 0, Wilson form with t of 29 df"
        )
        assert sum(sum(row.values()) for row in system.confusion.values()) == 60
        assert len(system.unparsed) == sum(o.polarity is None for _, o in pairs)


def test_evaluate_finds_only_real_differences_significant():
    result = evaluate(make_suite(headline=["labels.accuracy"]), make_data(random_examples(200)))
    (comparison,) = result.comparisons
    assert (comparison.a, comparison.b) == ("good", "bad")
    assert comparison.low > 0
    assert comparison.p_adjusted < 0.05
    null_result = evaluate(
        make_suite(headline=["labels.accuracy"]),
        make_data(random_examples(200, p_correct=0.0, include_unparsed=False)),
    )
    assert null_result.comparisons[0].p > 0.05


def test_evaluate_uses_permutation_for_clusters_mcnemar_for_rows():
    clustered = evaluate(make_suite(), make_data(random_examples(60))).comparisons[0]
    assert clustered.test.startswith("permutation")
    per_row = evaluate(make_suite(cluster="post"), make_data(random_examples(60))).comparisons[0]
    assert per_row.test == "McNemar, exact"


def test_evaluate_adjusts_p_values_over_all_comparisons():
    result = evaluate(make_suite(), make_data(random_examples(60)))
    assert [c.adjustment for c in result.comparisons] == ["Holm over 2"] * 2
    assert all(c.p_adjusted >= c.p for c in result.comparisons)


def test_evaluate_is_deterministic_by_seed():
    examples = make_data(random_examples(40))
    assert evaluate(make_suite(), examples) == evaluate(make_suite(), examples)
    assert evaluate(make_suite(), examples) != evaluate(make_suite(seed=1), examples)


def test_evaluate_counts_missing_predictions_as_wrong():
    examples = [example(0, "positive", r="positive"), *(example(i, "neutral") for i in range(1, 4))]
    (system,) = evaluate(make_suite(), make_data(examples)).systems
    assert system.metrics["labels"]["accuracy"].value == 0.25
    assert (system.rows, system.n_missing) == (4, 3)
    assert [u.status for u in system.unparsed] == ["missing"] * 3


@pytest.mark.parametrize("n", [1, 2, 6])
def test_evaluate_of_few_rows_has_no_interval(n):
    examples = [e.model_copy() for e in random_examples(n)]
    result = evaluate(make_suite(), make_data(examples))
    accuracy = result.systems[0].metrics["labels"]["accuracy"]
    clusters = result.clusters
    assert clusters < 5
    assert accuracy.value is not None
    assert accuracy.low is None
    assert "at least 5 are needed" in accuracy.note
    assert f"no interval: {clusters} cluster" in accuracy.note
    assert all(c.low is None and "at least 5" in c.method for c in result.comparisons)


def test_evaluate_notes_undefined_metrics():
    result = evaluate(
        make_suite(metrics=["labels", "aspect_mention"]),
        make_data([example(0, "neutral", r="neutral")]),
    )
    mention_metric = result.systems[0].metrics["aspect_mention"]["named"]
    assert mention_metric.value is None
    assert "explanation" in mention_metric.note
    assert result.systems[0].notes == (f"aspect_mention: {mention_metric.note}",)


def test_evaluate_slices_sum_to_all_rows():
    result = evaluate(make_suite(slices=["gold", "negation"]), make_data(random_examples(60)))
    for name in ("gold", "negation"):
        assert sum(v.n for v in result.systems[0].slices if v.slice == name) == 60


def test_evaluate_accepts_another_annotator_as_reference():
    examples = random_examples(30)
    result = evaluate(make_suite(reference="good"), make_data(examples))
    assert [r.name for r in result.systems] == ["gold", "bad"]
    n_same = sum(
        e.opinions_by("gold")[0].polarity == e.opinions_by("good")[0].polarity for e in examples
    )
    assert result.systems[0].metrics["labels"]["accuracy"].value == pytest.approx(n_same / 30)


def test_evaluate_reports_seeds_and_their_mean():
    outputs = [
        SystemOutput("good", Path("x"), annotator="good"),
        SystemOutput("bad", Path("x"), annotator="bad", seed_of="good"),
    ]
    result = evaluate(make_suite(), make_data(random_examples(50)), outputs)
    assert [r.name for r in result.systems] == ["good", "bad", "good, mean of 2 seeds"]
    first, second, mean = (r.metrics["labels"]["macro_f1"] for r in result.systems)
    assert mean.value == pytest.approx((first.value + second.value) / 2)
    assert mean.seeds == (first.value, second.value)
    assert mean.sd == pytest.approx(abs(first.value - second.value) / 2**0.5)
    assert result.systems[-1].seeds == ("good", "bad")
    assert result.headline == ("labels.accuracy", "labels.macro_f1")
    assert result.comparisons == ()


def test_evaluate_rejects_data_without_systems():
    with pytest.raises(UserError, match="has no opinions to compare"):
        evaluate(make_suite(), make_data([example(0, "positive")]))
    with pytest.raises(UserError, match="no opinions by 'teacher'"):
        evaluate(make_suite(reference="teacher"), make_data(random_examples(3)))


def test_evaluate_notes_detectable_difference():
    examples = random_examples(200)
    (note,) = evaluate(make_suite(), make_data(examples)).notes
    n_different = sum(
        (e.opinions_by("good")[0].polarity == e.opinions_by("gold")[0].polarity)
        != (e.opinions_by("bad")[0].polarity == e.opinions_by("gold")[0].polarity)
        for e in examples
    )
    assert note.startswith(
        f"good and bad differ in {n_different / 200:.1%} of 200 rows: a difference"
    )


def test_evaluate_has_no_power_note_without_disagreement():
    examples = [example(i, "positive", a="positive", b="positive") for i in range(4)]
    assert evaluate(make_suite(), make_data(examples)).notes == ()


@pytest.mark.parametrize(
    ("metrics", "headline", "message"),
    [
        (["labels"], "labels.acuracy", "did you mean 'accuracy'"),
        (["labels", "text_stats"], "text_stats.length", "is not a sum over rows"),
    ],
)
def test_evaluate_rejects_untestable_headline(metrics, headline, message):
    with pytest.raises(UserError, match=message):
        evaluate(make_suite(metrics=metrics, headline=[headline]), make_data(random_examples(3)))


def test_evaluate_does_not_compare_reference_with_itself():
    outputs = [SystemOutput(name, Path("x"), annotator=name) for name in ("good", "bad")]
    result = evaluate(make_suite(reference="good"), make_data(random_examples(10)), outputs)
    assert [r.name for r in result.systems] == ["bad"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"models": [{"model": "echo", "name": "good"}]}, "already has opinions by 'good'"),
        ({"reference": "teacher", "models": [{"model": "echo"}]}, "no opinions by 'teacher'"),
        ({"headline": ["labels.f2"]}, "no such metric"),
    ],
)
def test_check_suite_rejects_bad_suites_before_prediction(overrides, message):
    with pytest.raises(UserError, match=message):
        check_suite(make_suite(**overrides), make_data(random_examples(3)))


def test_check_suite_accepts_suite_model_as_reference():
    models = [{"model": "echo", "name": "teacher"}, {"model": "echo:1"}]
    assert (
        check_suite(make_suite(reference="teacher", models=models), make_data([example(0, "")]))
        is None
    )
