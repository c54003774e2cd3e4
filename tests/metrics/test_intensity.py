"""Figures of intensity: equal to the published formulas, at every tie, and no score is wrong."""

import math

import numpy
import pytest
from sklearn import config_context
from sklearn.metrics import accuracy_score, f1_score

from gen_msa.errors import UserError
from gen_msa.metrics import Undefined, metrics
from tests.metrics.saying import figures, pair

Intensity = metrics["intensity"]


def scored(gold, said):
    return [
        pair({"score": g}, None if s is None else {"score": s}, i)
        for i, (g, s) in enumerate(zip(gold, said, strict=True))
    ]


def mosi(y, p):
    """The reference's regression figures for MOSI and MOSEI, written down once more."""
    found = {"mae": numpy.mean(numpy.abs(p - y)), "pearson": numpy.corrcoef(p, y)[0, 1]}
    for most in (1, 2, 3):
        cut = [numpy.round(numpy.clip(v, -most, most)) for v in (p, y)]
        found[f"acc{2 * most + 1}"] = numpy.mean(cut[0] == cut[1])
    found["acc2_has0"] = accuracy_score(y >= 0, p >= 0)
    found["f1_has0"] = f1_score(y >= 0, p >= 0, average="weighted")
    some = y != 0
    found["acc2_non0"] = accuracy_score(y[some] > 0, p[some] > 0)
    found["f1_non0"] = f1_score(y[some] > 0, p[some] > 0, average="weighted")
    return found


def sims(y, p):
    """The reference's regression figures for SIMS: bins (low, high] over scores clipped to ±1."""
    y, p = numpy.clip(y, -1, 1), numpy.clip(p, -1, 1)
    found = {"mae": numpy.mean(numpy.abs(p - y)), "pearson": numpy.corrcoef(p, y)[0, 1]}
    edges = {2: [-1.01, 0, 1.01], 3: [-1.01, -0.1, 0.1, 1.01]}
    edges[5] = [-1.01, -0.7, -0.1, 0.1, 0.7, 1.01]
    for n, cuts in edges.items():
        bins = []
        for v in (y, p):
            at = numpy.full(len(v), -1)
            for i in range(n):
                at[(v > cuts[i]) & (v <= cuts[i + 1])] = i
            bins.append(at)
        found[f"acc{n}"] = accuracy_score(*bins)
        if n == 2:
            found["f1"] = f1_score(*bins, average="weighted")
    return found


def case(number, most, ties):
    """Random scores beyond the scale too; a third of them lie on an edge of a cut."""
    rng = numpy.random.default_rng(number)
    n = int(rng.integers(3, 60))
    y, p = (numpy.clip(rng.normal(0, most / 2, n), -1.2 * most, 1.2 * most) for _ in range(2))
    for v in (y, p):
        on = rng.random(n) < 0.3
        v[on] = rng.choice(ties, on.sum())
    y[0], p[0] = 1.0, -0.5  # neither side is constant, and some gold is not 0
    return y, p


@config_context(assume_finite=True, skip_parameter_validation=True)
@pytest.mark.parametrize(
    ("scale", "oracle", "most", "ties"),
    [
        ("mosi", mosi, 3, [-2.5, -1.5, -0.5, 0.0, -0.0, 0.5, 1.5, 2.5, 3.5]),
        ("sims", sims, 1, [-1.0, -0.7, -0.1, 0.0, -0.0, 0.1, 0.7, 1.0]),
    ],
)
def test_a_thousand_random_cases_agree_with_the_reference_formulas(scale, oracle, most, ties):
    family = Intensity(scale=scale)
    for number in range(1000):
        y, p = case(number, most, ties)
        ours, theirs = figures(family, scored(y.tolist(), p.tolist())), oracle(y, p)
        assert {k: ours[k] for k in theirs} == pytest.approx(theirs, abs=1e-9), number
        assert ours["read_rate"] == 1.0


def test_a_case_computed_by_hand():
    # MAE (1 + 0 + 2 + .5) / 4; rounding takes .5 to 0, 1.5 and 2.5 to 2.
    ours = figures(Intensity(), scored([1.5, 0.0, -1.0, 3.0], [2.5, 0.0, 1.0, 2.5]))
    assert ours["mae"] == pytest.approx(3.5 / 4)
    assert ours["acc7"] == 0.5  # 2 = 2, 0 = 0, -1 != 1, 3 != 2
    assert ours["acc3"] == 0.75  # 1 = 1, 0 = 0, -1 != 1, 1 = 1
    assert ours["acc2_has0"] == 0.75
    assert ours["acc2_non0"] == pytest.approx(2 / 3)
    # Positive: P 2/3, R 1, F1 .8, two gold rows; negative: F1 0, one gold row.
    assert ours["f1_non0"] == pytest.approx(0.8 * 2 / 3)


def test_halves_are_rounded_to_the_even_class():
    assert figures(Intensity(), scored([0.0, 2.0, 2.0], [0.5, 1.5, 2.5]))["acc7"] == 1.0
    assert figures(Intensity(), scored([1.0, 1.0, 3.0], [0.5, 1.5, 2.5]))["acc7"] == 0.0


def test_bins_of_sims_are_closed_on_the_right():
    sims_ = Intensity(scale="sims")
    ours = figures(sims_, scored([0.0, 0.05, 0.5, -0.8], [0.1, -0.1, 0.7, -0.7]))
    assert ours["acc5"] == 0.75  # only -0.1 falls out of the bin of 0.05
    assert figures(sims_, scored([-0.5, 0.5], [0.0, 0.0]))["acc2"] == 0.5


def test_a_row_without_a_score_of_the_reader_is_wrong_in_every_accuracy():
    whole = scored([1.0, -1.0, 2.0, -2.0], [1.0, -1.0, None, float("nan")])
    ours = figures(Intensity(), whole)
    assert ours["mae"] == 0.0
    assert ours["read_rate"] == 0.5
    for name in ("acc3", "acc5", "acc7", "acc2_has0", "acc2_non0"):
        assert ours[name] == 0.5
    assert ours["f1_has0"] == pytest.approx(2 / 3)  # both classes: P 1, R 1/2


def test_f1_takes_truth_first():
    # Swapped arguments would weight by the answers and give .947 in place of .853.
    gold, said = [1.0] * 9 + [-1.0], [1.0] * 10
    f1 = figures(Intensity(), scored(gold, said))["f1_has0"]
    assert f1 == pytest.approx(0.9 * 2 * 0.9 / 1.9)


def test_a_constant_has_no_correlation():
    for constant in (0.0, 0.1, 1 / 3):
        ours = figures(Intensity(), scored([1.0, -1.0, 0.5] * 9, [constant] * 27))
        assert math.isnan(ours["pearson"])
        assert not math.isnan(ours["mae"])
    assert figures(Intensity(), scored([1.0, 2.0], [0.1, 0.2]))["pearson"] == pytest.approx(1)


def test_nonzero_only_leaves_neutral_gold_out_of_error_and_correlation():
    rows = scored([0.0, 1.0, -1.0, 2.0], [3.0, 1.0, -1.0, 2.0])
    assert figures(Intensity(nonzero_only=True), rows)["mae"] == 0.0
    assert figures(Intensity(nonzero_only=True), rows)["pearson"] == pytest.approx(1.0)
    assert figures(Intensity(), rows)["mae"] == 0.75
    assert "gold not 0" in Intensity(nonzero_only=True).signature


def test_sums_of_samples_give_each_sample_its_own_figures():
    y, p = case(7, 3, [0.0, 0.5])
    pairs = scored(y.tolist(), p.tolist())
    family = Intensity()
    rows = family.rows(pairs)
    draws = numpy.random.default_rng(0).integers(0, len(pairs), (20, len(pairs)))
    counts = numpy.stack([numpy.bincount(d, minlength=len(pairs)) for d in draws])
    many = family.values(counts @ rows)
    for i, draw in enumerate(draws):
        alone = figures(family, [pairs[j] for j in draw])
        assert {k: float(v[i]) for k, v in many.items()} == pytest.approx(alone, nan_ok=True)


def test_what_cannot_be_scored_is_said():
    with pytest.raises(Undefined, match="no gold opinion has a score"):
        Intensity().rows([pair({}, {"score": 1.0}), pair(None, {"score": 1.0})])
    with pytest.raises(Undefined):
        Intensity().rows([])
    with pytest.raises(UserError, match="gold's score is nan"):
        Intensity().rows(scored([float("nan")], [1.0]))
    with pytest.raises(UserError, match="did you mean 'scale'"):
        Intensity(scales="sims")
    with pytest.raises(UserError, match="'mosi', 'mosei' or 'sims'"):
        Intensity(scale="iemocap")


def test_rows_without_gold_are_all_zero():
    rows = Intensity().rows([*scored([1.0], [1.0]), pair(None, {"score": 2.0})])
    assert rows[1].tolist() == [0.0] * rows.shape[1]


def test_the_figures_come_in_the_order_that_is_declared():
    for scale in ("mosi", "sims"):
        family = Intensity(scale=scale)
        names = [f.name for f in family.figures]
        assert list(figures(family, scored([1.0, -0.5], [0.5, 0.1]))) == names
        assert names[0] == "mae"
