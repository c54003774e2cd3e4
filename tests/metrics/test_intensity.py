"""Test that intensity equals the published formulas, also at ties, and that no score is wrong."""

import importlib.metadata
import importlib.util
import math

import numpy
import pytest
import torch
from pydantic import ValidationError
from sklearn import config_context
from sklearn.metrics import accuracy_score, f1_score

from gen_msa.errors import UserError
from gen_msa.metrics import UndefinedMetric, metrics
from gen_msa.metrics.statistics.bootstrap import bootstrap
from gen_msa.types import Opinion
from tests.metrics.opinion_pairs import compute_metrics, pair

Intensity = metrics["intensity"]


def score_pairs(gold, predicted):
    return [
        pair({"score": g}, None if s is None else {"score": s}, i)
        for i, (g, s) in enumerate(zip(gold, predicted, strict=True))
    ]


def reference_mosi(y, p):
    """Reimplement the published regression metrics of MOSI and MOSEI."""
    values = {"mae": numpy.mean(numpy.abs(p - y)), "pearson": numpy.corrcoef(p, y)[0, 1]}
    for bound in (1, 2, 3):
        rounded = [numpy.round(numpy.clip(v, -bound, bound)) for v in (p, y)]
        values[f"acc{2 * bound + 1}"] = numpy.mean(rounded[0] == rounded[1])
    values["acc2_has0"] = accuracy_score(y >= 0, p >= 0)
    values["f1_has0"] = f1_score(y >= 0, p >= 0, average="weighted")
    nonzero = y != 0
    values["acc2_non0"] = accuracy_score(y[nonzero] > 0, p[nonzero] > 0)
    values["f1_non0"] = f1_score(y[nonzero] > 0, p[nonzero] > 0, average="weighted")
    return values


def reference_sims(y, p):
    """Reimplement the published metrics of SIMS: bins (low, high] over scores clipped to ±1."""
    y, p = numpy.clip(y, -1, 1), numpy.clip(p, -1, 1)
    values = {"mae": numpy.mean(numpy.abs(p - y)), "pearson": numpy.corrcoef(p, y)[0, 1]}
    edges = {2: [-1.01, 0, 1.01], 3: [-1.01, -0.1, 0.1, 1.01]}
    edges[5] = [-1.01, -0.7, -0.1, 0.1, 0.7, 1.01]
    for n, bin_edges in edges.items():
        bins = []
        for v in (y, p):
            bin_ids = numpy.full(len(v), -1)
            for i in range(n):
                bin_ids[(v > bin_edges[i]) & (v <= bin_edges[i + 1])] = i
            bins.append(bin_ids)
        values[f"acc{n}"] = accuracy_score(*bins)
        if n == 2:
            values["f1"] = f1_score(*bins, average="weighted")
    return values


def mmsa_metrics(scale):
    """Return the metrics of the MMSA framework, of its file alone: its package needs a GPU's."""
    try:
        files = importlib.metadata.files("MMSA") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("MMSA is not installed: make .venv/.dev")
    (path,) = (f.locate() for f in files if f.name == "metricsTop.py")
    spec = importlib.util.spec_from_file_location("mmsa_metrics", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    evaluate = module.MetricsTop("regression").getMetics(scale)
    return lambda y, p: evaluate(torch.from_numpy(p), torch.from_numpy(y))


def random_case(seed, bound, ties):
    """Return random scores, also beyond the scale; a third of them are on a class boundary."""
    rng = numpy.random.default_rng(seed)
    n = int(rng.integers(3, 60))
    y, p = (numpy.clip(rng.normal(0, bound / 2, n), -1.2 * bound, 1.2 * bound) for _ in range(2))
    for v in (y, p):
        on_edge = rng.random(n) < 0.3
        v[on_edge] = rng.choice(ties, on_edge.sum())
    y[0], p[0] = 1.0, -0.5  # neither side is constant, and some gold is not 0
    return y, p


@config_context(assume_finite=True, skip_parameter_validation=True)
@pytest.mark.parametrize(
    ("scale", "oracle", "bound", "ties"),
    [
        ("mosi", reference_mosi, 3, [-2.5, -1.5, -0.5, 0.0, -0.0, 0.5, 1.5, 2.5, 3.5]),
        ("sims", reference_sims, 1, [-1.0, -0.7, -0.1, 0.0, -0.0, 0.1, 0.7, 1.0]),
    ],
)
def test_intensity_matches_reference_formulas(scale, oracle, bound, ties):
    family = Intensity(scale=scale)
    for seed in range(1000):
        y, p = random_case(seed, bound, ties)
        values, expected = (
            compute_metrics(family, score_pairs(y.tolist(), p.tolist())),
            oracle(y, p),
        )
        assert {k: values[k] for k in expected} == pytest.approx(expected, abs=1e-9), seed
        assert values["read_rate"] == 1.0


def test_intensity_by_hand():
    # MAE (1 + 0 + 2 + .5) / 4; rounding takes .5 to 0, 1.5 and 2.5 to 2.
    values = compute_metrics(Intensity(), score_pairs([1.5, 0.0, -1.0, 3.0], [2.5, 0.0, 1.0, 2.5]))
    assert values["mae"] == pytest.approx(3.5 / 4)
    assert values["acc7"] == 0.5  # 2 = 2, 0 = 0, -1 != 1, 3 != 2
    assert values["acc3"] == 0.75  # 1 = 1, 0 = 0, -1 != 1, 1 = 1
    assert values["acc2_has0"] == 0.75
    assert values["acc2_non0"] == pytest.approx(2 / 3)
    # Positive: P 2/3, R 1, F1 .8, two gold rows; negative: F1 0, one gold row.
    assert values["f1_non0"] == pytest.approx(0.8 * 2 / 3)


def test_acc7_rounds_halves_to_even():
    assert (
        compute_metrics(Intensity(), score_pairs([0.0, 2.0, 2.0], [0.5, 1.5, 2.5]))["acc7"] == 1.0
    )
    assert (
        compute_metrics(Intensity(), score_pairs([1.0, 1.0, 3.0], [0.5, 1.5, 2.5]))["acc7"] == 0.0
    )


def test_sims_bins_are_closed_on_the_right():
    sims_family = Intensity(scale="sims")
    values = compute_metrics(
        sims_family, score_pairs([0.0, 0.05, 0.5, -0.8], [0.1, -0.1, 0.7, -0.7])
    )
    assert values["acc5"] == 0.75  # only -0.1 falls out of the bin of 0.05
    assert compute_metrics(sims_family, score_pairs([-0.5, 0.5], [0.0, 0.0]))["acc2"] == 0.5


def test_missing_score_is_wrong_in_every_accuracy():
    pairs = score_pairs([1.0, -1.0, 2.0, -2.0], [1.0, -1.0, None, None])
    values = compute_metrics(Intensity(), pairs)
    assert values["mae"] == 0.0
    assert values["read_rate"] == 0.5
    for name in ("acc3", "acc5", "acc7", "acc2_has0", "acc2_non0"):
        assert values[name] == 0.5
    assert values["f1_has0"] == pytest.approx(2 / 3)  # both classes: P 1, R 1/2


def test_f1_weights_by_gold():
    # Swapped arguments would weight by predictions and give .947 instead of .853.
    gold, predicted = [1.0] * 9 + [-1.0], [1.0] * 10
    f1 = compute_metrics(Intensity(), score_pairs(gold, predicted))["f1_has0"]
    assert f1 == pytest.approx(0.9 * 2 * 0.9 / 1.9)


def test_pearson_of_constant_is_nan():
    for constant in (0.0, 0.1, 1 / 3):
        values = compute_metrics(Intensity(), score_pairs([1.0, -1.0, 0.5] * 9, [constant] * 27))
        assert math.isnan(values["pearson"])
        assert not math.isnan(values["mae"])
    assert compute_metrics(Intensity(), score_pairs([1.0, 2.0], [0.1, 0.2]))[
        "pearson"
    ] == pytest.approx(1)


def test_nonzero_only_drops_neutral_gold_from_mae_and_pearson():
    rows = score_pairs([0.0, 1.0, -1.0, 2.0], [3.0, 1.0, -1.0, 2.0])
    assert compute_metrics(Intensity(nonzero_only=True), rows)["mae"] == 0.0
    assert compute_metrics(Intensity(nonzero_only=True), rows)["pearson"] == pytest.approx(1.0)
    assert compute_metrics(Intensity(), rows)["mae"] == 0.75
    assert "gold not 0" in Intensity(nonzero_only=True).signature


def test_intensity_values_are_vectorized_over_samples():
    y, p = random_case(7, 3, [0.0, 0.5])
    pairs = score_pairs(y.tolist(), p.tolist())
    family = Intensity()
    rows = family.row_statistics(pairs)
    draws = numpy.random.default_rng(0).integers(0, len(pairs), (20, len(pairs)))
    counts = numpy.stack([numpy.bincount(d, minlength=len(pairs)) for d in draws])
    sample_values = family.compute(counts @ rows)
    for i, draw in enumerate(draws):
        expected = compute_metrics(family, [pairs[j] for j in draw])
        assert {k: float(v[i]) for k, v in sample_values.items()} == pytest.approx(
            expected, nan_ok=True
        )


def test_intensity_rejects_unscorable_input():
    with pytest.raises(UndefinedMetric, match="no gold opinion has a score"):
        Intensity().row_statistics([pair({}, {"score": 1.0}), pair(None, {"score": 1.0})])
    with pytest.raises(UndefinedMetric):
        Intensity().row_statistics([])
    with pytest.raises(UserError, match="did you mean 'scale'"):
        Intensity(scales="sims")
    with pytest.raises(UserError, match="'mosi', 'mosei' or 'sims'"):
        Intensity(scale="iemocap")


def test_intensity_rows_without_gold_are_zero():
    rows = Intensity().row_statistics([*score_pairs([1.0], [1.0]), pair(None, {"score": 2.0})])
    assert rows[1].tolist() == [0.0] * rows.shape[1]


def test_intensity_values_follow_declared_order():
    for scale in ("mosi", "sims"):
        family = Intensity(scale=scale)
        names = [f.name for f in family.specs]
        assert list(compute_metrics(family, score_pairs([1.0, -0.5], [0.5, 0.1]))) == names
        assert names[0] == "mae"


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_score_that_is_not_finite_is_no_opinion(score):
    with pytest.raises(ValidationError, match="finite"):
        Opinion(annotator="gold", score=score)


@pytest.mark.parametrize("scale", ["mosi", "sims"])
def test_huge_scores_have_finite_metrics(scale):
    huge = 1e308
    pairs = score_pairs([huge, huge, -huge, 1.0, -1.0, 0.5], [huge, 0.9 * huge, -huge, 1.0, 2, 0])
    family = Intensity(scale=scale)
    values = compute_metrics(family, pairs)
    assert all(math.isfinite(v) for v in values.values())
    if scale == "mosi":
        assert values["mae"] == pytest.approx(0.1 * huge / 6)
        assert values["pearson"] == pytest.approx(
            numpy.corrcoef([1, 1, -1, 0, 0, 0], [1, 0.9, -1, 0, 0, 0])[0, 1]
        )
    intervals = bootstrap(
        family.row_statistics(pairs),
        list("abcdef"),
        family.compute,
        bounds={s.name: s.bounds for s in family.specs},
        replicates=200,
    )
    assert all(
        math.isfinite(i.low) and math.isfinite(i.high) for i in intervals.values() if not i.note
    )


def test_error_beyond_the_largest_number_is_the_largest_number():
    values = compute_metrics(Intensity(), score_pairs([1.7e308], [-1.7e308]))
    assert values["mae"] == numpy.finfo(float).max


def test_rows_without_huge_scores_do_not_change_beside_them():
    y, p = random_case(3, 3, [0.0, 0.5])
    pairs = score_pairs(y.tolist(), p.tolist())
    alone = compute_metrics(Intensity(), pairs)
    rows = Intensity().row_statistics([*pairs, *score_pairs([1e308], [1e308])])
    beside = Intensity().compute(rows[: len(pairs)].sum(axis=0))
    assert {k: float(v) for k, v in beside.items()} == alone


MMSA_NAMES = {
    "mosi": {
        "Has0_acc_2": "acc2_has0",
        "Has0_F1_score": "f1_has0",
        "Non0_acc_2": "acc2_non0",
        "Non0_F1_score": "f1_non0",
        "Mult_acc_5": "acc5",
        "Mult_acc_7": "acc7",
        "MAE": "mae",
        "Corr": "pearson",
    },
    "sims": {
        "Mult_acc_2": "acc2",
        "Mult_acc_3": "acc3",
        "Mult_acc_5": "acc5",
        "F1_score": "f1",
        "MAE": "mae",
        "Corr": "pearson",
    },
}


@config_context(assume_finite=True, skip_parameter_validation=True)
@pytest.mark.parametrize(
    ("scale", "bound", "ties"),
    [
        ("mosi", 3, [-2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5, 3.5]),
        ("mosei", 3, [-2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5, 3.5]),
        ("sims", 1, [-1.0, -0.7, -0.1, 0.0, 0.1, 0.7, 1.0]),
    ],
)
def test_intensity_matches_the_mmsa_framework(scale, bound, ties):
    evaluate, family = mmsa_metrics(scale), Intensity(scale=scale)
    names = MMSA_NAMES["sims" if scale == "sims" else "mosi"]
    for seed in range(200):
        y, p = random_case(seed, bound, ties)
        found, expected = compute_metrics(family, score_pairs(y, p)), evaluate(y, p)
        assert set(expected) == set(names)
        for theirs, ours in names.items():
            # MMSA rounds to four digits.
            assert found[ours] == pytest.approx(expected[theirs], abs=0.5001e-4), (seed, theirs)
