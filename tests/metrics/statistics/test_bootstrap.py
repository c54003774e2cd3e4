"""The cluster bootstrap: scipy's intervals, theory's width, and the same draws for everyone."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gen_msa.metrics import Undefined, metrics
from gen_msa.metrics.statistics.bootstrap import Draws, bootstrap
from tests.metrics.statistics.readers import accuracy, confusion, each, rows, values


def test_a_case_computed_by_hand():
    # Two clusters, one all right and one all wrong: drawn twice, 0, 1/2 or 1; the ends are 0 and 1.
    got = bootstrap(numpy.array([[1.0, 1], [1, 1], [1, 0], [1, 0]]), list("aabb"), accuracy)
    assert (got["accuracy"].low, got["accuracy"].high) == (0, 1)
    drawn = Draws([list("ab")], replicates=4000).sums(numpy.array([[1.0, 1], [1, 0]]), list("ab"))
    assert numpy.bincount(drawn[:, 1].astype(int)) / 4000 == pytest.approx(
        [0.25, 0.5, 0.25], abs=0.03
    )


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_the_interval_is_that_of_scipy(method):
    # A skewed mean of few rows, where the two methods part.
    drawn = numpy.random.default_rng(3).exponential(size=25)
    mine = bootstrap(
        numpy.column_stack([numpy.ones(25), drawn]),
        each(25),
        accuracy,
        replicates=40_000,
        method=method,
    )["accuracy"]
    theirs = stats.bootstrap(
        (drawn,), numpy.mean, n_resamples=40_000, method=method, rng=numpy.random.default_rng(1)
    ).confidence_interval
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=0.015)


def test_the_methods_part_where_few_rows_are_skewed():
    drawn = numpy.column_stack([numpy.ones(25), numpy.random.default_rng(3).exponential(size=25)])
    plain = bootstrap(drawn, each(25), accuracy)["accuracy"]
    bca = bootstrap(drawn, each(25), accuracy, method="bca")["accuracy"]
    assert bca.low > plain.low + 0.01
    assert bca.high > plain.high + 0.01


def test_the_standard_error_is_the_analytic_one_and_that_of_clusters_where_they_are_alike():
    n, each_size = 300, 4
    mine = rows(2, n)
    p = mine[:, 1].mean()
    wide = numpy.sqrt(p * (1 - p) / n)
    drawn = Draws([each(n)]).sums(mine, each(n))
    assert (drawn[:, 1] / drawn[:, 0]).std() == pytest.approx(wide, rel=0.05)
    # Every row four times over: as rows they look like 1,200; by cluster they are still 300.
    many, clusters = numpy.repeat(mine, each_size, axis=0), numpy.repeat(each(n), each_size)
    drawn = Draws([clusters]).sums(many, clusters)
    assert (drawn[:, 1] / drawn[:, 0]).std() == pytest.approx(wide, rel=0.05)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    held = 0
    for seed in range(200):
        got = bootstrap(rows(seed, 150), each(150), accuracy, replicates=400, seed=seed)
        held += got["accuracy"].low <= 0.7 <= got["accuracy"].high
    assert 0.90 <= held / 200 <= 0.99


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    mine = rows(0, 50)
    assert bootstrap(mine, each(50), values) == bootstrap(mine, each(50), values)
    other = Draws([each(50)], seed=1).sums(mine, each(50))
    assert not numpy.array_equal(other, Draws([each(50)], seed=0).sums(mine, each(50)))


def test_draws_that_are_not_kept_are_drawn_alike():
    mine = rows(0, 3000)
    clusters = [str(i // 2) for i in range(3000)]
    kept = Draws([clusters], replicates=1500)
    anew = Draws([clusters], replicates=1500, keep=0)
    assert numpy.array_equal(kept.sums(mine, clusters), anew.sums(mine, clusters))
    assert numpy.array_equal(anew.sums(mine, clusters), anew.sums(mine, clusters))
    assert anew.how == "cluster bootstrap, 1500 replicates, seed 0"


def test_row_order_does_not_matter_and_every_replicate_draws_as_many_clusters_as_there_are():
    mine, clusters = rows(1, 60), [str(i % 20) for i in range(60)]
    order = numpy.random.default_rng(0).permutation(60)
    draws = Draws([clusters], replicates=500)
    assert draws.intervals(mine, clusters, values) == draws.intervals(
        mine[order], [clusters[i] for i in order], values
    )
    assert (draws.sums(mine, clusters)[:, 0] == 60).all()


def test_readers_with_other_rows_are_drawn_the_same_clusters():
    mine = rows(0, 40)
    draws = Draws([each(40), ["post 3", "elsewhere"]], replicates=300)
    whole = draws.sums(mine, each(40))
    part = draws.sums(mine[3:4], ["post 3"])
    assert (part <= whole).all()
    assert draws.sums(mine[3:4], ["elsewhere"])[:, 0].mean() == pytest.approx(1, abs=0.2)


def test_a_figure_without_a_value_has_no_interval_and_a_rare_gap_is_left_out():
    never = rows(0, 30) * [1, 1, 0]
    got = bootstrap(never, each(30), values, replicates=200)
    assert numpy.isnan([got["ratio"].low, got["ratio"].high]).all()
    assert not numpy.isnan(got["accuracy"].low)
    once = never.copy()
    once[0, 2] = 1  # not drawn in 36 % of the replicates: too many
    assert numpy.isnan(bootstrap(once, each(30), values, replicates=200)["ratio"].low)
    once[:6, 2] = 1  # not drawn in 0.2 %
    assert bootstrap(once, each(30), values, replicates=200)["ratio"].low > 0


def test_a_figure_that_does_not_vary_has_an_interval_of_no_width():
    same = numpy.ones((9, 3))
    for method in ("percentile", "bca"):
        got = bootstrap(same, each(9), values, replicates=50, method=method)["accuracy"]
        assert (got.low, got.high) == (1, 1)


def test_what_makes_no_interval_is_an_error_that_says_why():
    with pytest.raises(Undefined, match="1 cluster: an interval needs two"):
        bootstrap(rows(0, 5), ["a"] * 5, values)
    with pytest.raises(Undefined, match="0 cluster"):
        bootstrap(numpy.zeros((0, 3)), [], values)
    with pytest.raises(ValueError, match="NaN"):
        bootstrap(numpy.full((2, 3), numpy.nan), ["a", "b"], values)
    with pytest.raises(ValueError, match="with 3 clusters"):
        bootstrap(rows(0, 2), ["a", "b", "c"], values)
    with pytest.raises(ValueError, match="'c' is none"):
        Draws([["a", "b"]], replicates=10).sums(rows(0, 1), ["c"])
    with pytest.raises(ValueError, match="replicates"):
        Draws([["a", "b"]], replicates=1)
    with pytest.raises(ValueError, match="level"):
        bootstrap(rows(0, 2), ["a", "b"], values, level=95)


@given(st.integers(2, 40), st.integers(0, 10_000))
def test_an_interval_lies_within_the_range_of_the_figure(n, seed):
    family = metrics["labels"]()
    got = bootstrap(confusion(seed, n), each(n), family.values, replicates=60, seed=seed)
    assert set(got) == {f.name for f in family.figures}
    assert all(0 <= one.low <= one.high <= 1 for one in got.values())
