"""Differences of two readers on the same clusters."""

import numpy
import pytest

from gen_msa.metrics import metrics
from gen_msa.metrics.statistics.bootstrap import Draws
from gen_msa.metrics.statistics.paired import paired
from tests.metrics.statistics.readers import accuracy, confusion, each, rows

FAMILY = metrics["labels"]()


def test_a_reader_differs_from_itself_by_nothing():
    mine = confusion(0, 80)
    for name, one in paired(mine, mine, each(80), FAMILY.values, replicates=200).items():
        assert (one.value, one.low, one.high) == (0, 0, 0), name


def test_the_interval_is_that_of_theory_for_paired_rows_not_for_two_samples():
    n = 800
    a = rows(1, n, 0.8)
    b = a.copy()
    b[:60, 1] = 1 - b[:60, 1]  # they part in 60 rows only
    got = paired(a, b, each(n), accuracy)["accuracy"]
    change = a[:, 1] - b[:, 1]
    error = change.std() / numpy.sqrt(n)
    assert got.value == pytest.approx(change.mean())
    assert got.high - got.low == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_the_other_way_round_is_the_same_with_the_sign_changed():
    a, b = confusion(1, 60, 0.8), confusion(2, 60, 0.5)
    there = paired(a, b, each(60), FAMILY.values, replicates=300)["macro_f1"]
    back = paired(b, a, each(60), FAMILY.values, replicates=300)["macro_f1"]
    assert there.value == -back.value
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_draws_made_once_serve_every_pair_of_readers():
    readers = [confusion(seed, 70, 0.5 + seed / 20) for seed in range(5)]
    draws = Draws([each(70)], replicates=300, seed=4)
    for other in readers[1:]:
        shared = paired(readers[0], other, each(70), FAMILY.values, draws=draws)
        alone = paired(readers[0], other, each(70), FAMILY.values, replicates=300, seed=4)
        assert shared == alone


def test_readers_may_have_other_rows_of_the_same_clusters():
    a, b = rows(0, 40), numpy.concatenate([rows(0, 40), rows(1, 5)])
    got = paired(a, b, each(40), accuracy, clusters_b=[*each(40), *each(5)])["accuracy"]
    assert got.value == pytest.approx(a[:, 1].mean() - b[:, 1].mean())
    assert got.low <= got.value <= got.high
