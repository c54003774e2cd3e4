"""Calibration: equal to scikit-learn's figures, and nothing is left out unseen."""

import numpy
import pytest
from sklearn import config_context
from sklearn.metrics import brier_score_loss, log_loss

from gen_msa.errors import UserError
from gen_msa.metrics import Undefined, metrics
from gen_msa.metrics.calibration import bins
from gen_msa.types import Polarity
from tests.metrics.saying import figures, pair

NEG, NEU, POS = Polarity


def sure(gold, said, *probs, number=0):
    """Gold's polarity, the reader's, and its probabilities in the classes' order."""
    given = dict(zip(Polarity, probs, strict=True)) if probs else None
    return pair({"polarity": gold}, {"polarity": said, "probs": given}, number)


def random_case(number):
    rng = numpy.random.default_rng(number)
    n = int(rng.integers(1, 50))
    probs = rng.dirichlet(rng.choice([0.3, 1.0, 5.0]) * numpy.ones(3), n)
    truth = rng.integers(3, size=n)
    classes = list(Polarity)
    pairs = [sure(classes[t], classes[p.argmax()], *p) for t, p in zip(truth, probs, strict=True)]
    return truth, probs, pairs


@config_context(assume_finite=True, skip_parameter_validation=True)
def test_a_thousand_random_cases_agree_with_scikit_learn():
    floor = 1e-15
    family = metrics["calibration"](floor=floor)
    for number in range(1000):
        truth, probs, pairs = random_case(number)
        ours = figures(family, pairs)
        kept = numpy.clip(probs, floor, 1)
        assert ours["nll"] == pytest.approx(log_loss(truth, kept, labels=[0, 1, 2]), rel=1e-9)
        brier = brier_score_loss(truth, probs, labels=[0, 1, 2], scale_by_half=False)
        assert ours["brier"] == pytest.approx(brier, abs=1e-12)
        assert ours["confidence"] == pytest.approx(probs.max(axis=1).mean())
        assert ours["ece"] == pytest.approx(plain_ece(truth, probs, 15), abs=1e-12)


def plain_ece(truth, probs, n):
    """The textbook's loop over bins."""
    sureness, right = probs.max(axis=1), probs.argmax(axis=1) == truth
    total = 0.0
    for i in range(n):
        inside = (sureness > i / n) & (sureness <= (i + 1) / n)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - sureness[inside].mean())
    return total


def test_a_case_computed_by_hand():
    ours = figures(
        metrics["calibration"](bins=2),
        [sure(POS, POS, 0.1, 0.1, 0.8), sure(NEG, POS, 0.2, 0.2, 0.6), sure(NEG, NEU)],
    )
    assert ours["brier"] == pytest.approx((0.06 + 0.64 + 0.04 + 0.36) / 2)
    assert ours["nll"] == pytest.approx(-(numpy.log(0.8) + numpy.log(0.2)) / 2)
    assert ours["ece"] == pytest.approx(abs(0.5 - 0.7))
    assert ours["confidence"] == pytest.approx(0.7)
    assert ours["given"] == pytest.approx(2 / 3)


def test_a_reader_that_is_as_sure_as_it_is_right_has_no_error():
    pairs = [sure(POS if i < 7 else NEG, POS, 0.1, 0.2, 0.7, number=i) for i in range(10)]
    assert figures(metrics["calibration"](), pairs)["ece"] == pytest.approx(0)


def test_an_unread_answer_is_wrong_however_sure():
    ours = figures(metrics["calibration"](), [sure(POS, None, 0.0, 0.0, 1.0)])
    assert ours["ece"] == 1.0
    assert ours["confidence"] == 1.0


def test_the_confidence_is_that_of_the_answer_not_of_the_likeliest_class():
    assert figures(metrics["calibration"](), [sure(NEG, NEG, 0.3, 0.1, 0.6)])["confidence"] == 0.3


def test_a_probability_of_zero_costs_what_the_floor_says():
    ours = figures(metrics["calibration"](floor=0.001), [sure(NEG, POS, 0.0, 0.0, 1.0)])
    assert ours["nll"] == pytest.approx(-numpy.log(0.001))


def test_edges_belong_to_the_bin_below_them_and_empty_bins_are_not_drawn():
    pairs = [sure(POS, POS, 0.25, 0.25, 0.5), sure(POS, POS, 0.0, 0.0, 1.0)]
    curve = bins([*pairs, sure(POS, NEU, 0.4, 0.1, 0.5)], n=4)
    assert [(b.low, b.high, b.n) for b in curve] == [(0, 0.25, 1), (0.25, 0.5, 1), (0.75, 1, 1)]
    assert [(b.confidence, b.accuracy) for b in curve] == [(0.1, 0), (0.5, 1), (1, 1)]


def test_without_probabilities_there_is_no_calibration():
    with pytest.raises(Undefined, match="no probabilities"):
        metrics["calibration"]().rows([sure(POS, POS)])
    with pytest.raises(Undefined, match="no rows"):
        bins([])
    with pytest.raises(UserError, match="bins"):
        metrics["calibration"](bins=0)
