"""The permutation test: scipy's p where all exchanges can be looked at, and honest p elsewhere."""

import numpy
import pytest
from scipy import stats

from gen_msa.metrics import metrics
from gen_msa.metrics.statistics.mcnemar import discordant, mcnemar
from gen_msa.metrics.statistics.permutation import permutation
from tests.metrics.statistics.readers import accuracy, confusion, each, rows, values

FAMILY = metrics["labels"]()


def test_a_case_computed_by_hand():
    # a is right in all 3 rows and b in none: of 8 exchanges, 2 are as far apart.
    a, b = numpy.ones((3, 2)), numpy.column_stack([numpy.ones(3), numpy.zeros(3)])
    got = permutation(a, b, each(3), accuracy)
    assert (got.p["accuracy"], got.how) == (0.25, "permutation, exact, 8")


def test_all_exchanges_give_the_p_of_scipy():
    for seed in range(100):
        n = 4 + seed % 6
        a, b = confusion(seed, n, 0.8), confusion(seed + 500, n, 0.4)

        def statistic(x, y, axis, a=a, b=b):
            # scipy exchanges values: give it row numbers, of a below n and of b from there on.
            both = numpy.concatenate([a, b])
            sums = [both[z.astype(int)].sum(axis=axis - 1 if axis < 0 else axis) for z in (x, y)]
            return FAMILY.values(sums[0])["macro_f1"] - FAMILY.values(sums[1])["macro_f1"]

        theirs = stats.permutation_test(
            (numpy.arange(n), numpy.arange(n, 2 * n)),
            statistic,
            permutation_type="samples",
            n_resamples=numpy.inf,
            vectorized=True,
        )
        differs = abs(theirs.null_distribution) >= abs(theirs.statistic) - 1e-12
        mine = permutation(a, b, each(n), FAMILY.values).p["macro_f1"]
        assert mine == pytest.approx(differs.mean())


def test_for_accuracy_of_single_rows_it_is_mcnemars_test():
    a, b = rows(1, 200, 0.8), rows(2, 200, 0.72)
    exact = mcnemar(*discordant(a[:, 1] > 0, b[:, 1] > 0))
    got = permutation(a, b, each(200), accuracy, replicates=20_000).p["accuracy"]
    assert got == pytest.approx(exact, abs=0.015)


def test_p_is_never_0_and_says_how_it_was_had():
    n = 60
    a, b = rows(0, n, 1.0), rows(0, n, 0.0)
    got = permutation(a, b, each(n), accuracy, replicates=99, seed=5)
    assert got.p["accuracy"] == 1 / 100
    assert got.how == "permutation, 99, seed 5"
    assert permutation(a, b, each(n), accuracy, replicates=99, seed=5) == got


def test_readers_that_are_alike_do_not_differ():
    mine = confusion(3, 30)
    assert set(permutation(mine, mine, each(30), FAMILY.values).p.values()) == {1.0}


def test_whole_clusters_change_places():
    # 40 rows of 4 pictures: as rows the difference is sure, but four coins prove nothing.
    a, b = numpy.ones((40, 2)), numpy.column_stack([numpy.ones(40), numpy.zeros(40)])
    pictures = [str(i // 10) for i in range(40)]
    assert permutation(a, b, pictures, accuracy).p["accuracy"] == 2 / 16
    assert permutation(a, b, each(40), accuracy).p["accuracy"] < 0.001


def test_where_nothing_differs_false_alarms_are_as_many_as_they_may_be():
    alarms = 0
    for seed in range(300):
        a, b = rows(seed, 60, 0.6), rows(seed + 1000, 60, 0.6)
        alarms += permutation(a, b, each(60), accuracy, replicates=199).p["accuracy"] <= 0.05
    assert alarms / 300 < 0.08


def test_what_cannot_be_compared_is_nan_or_an_error():
    never = rows(0, 20) * [1, 1, 0]
    got = permutation(never, rows(1, 20), each(20), values, replicates=50)
    assert numpy.isnan(got.p["ratio"])
    assert 0 < got.p["accuracy"] <= 1
    with pytest.raises(ValueError, match="NaN"):
        permutation(numpy.full((1, 3), numpy.nan), rows(0, 1), ["a"], values)
    with pytest.raises(ValueError, match="0 replicates"):
        permutation(never, never, each(20), values, replicates=0)


def test_one_row_and_one_cluster_prove_nothing():
    a, b = numpy.array([[1.0, 1.0]]), numpy.array([[1.0, 0.0]])
    assert permutation(a, b, ["a"], accuracy).p["accuracy"] == 1.0
