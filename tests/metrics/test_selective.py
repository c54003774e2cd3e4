"""Selective accuracy: the surest rows first, and the order of a file changes nothing."""

import numpy
import pytest

from gen_msa.metrics import Undefined, metrics
from gen_msa.types import Polarity
from tests.metrics.saying import pair

NEG, NEU, POS = Polarity


def sure(right, confidence):
    rest = (1 - confidence) / 2
    probs = None if confidence is None else {NEG: rest, NEU: rest, POS: confidence}
    return pair({"polarity": POS if right else NEG}, {"polarity": POS, "probs": probs})


def measured(*rows):
    return metrics["selective"]().measure([sure(*row) for row in rows])


def test_a_case_computed_by_hand():
    ours = measured((True, 0.9), (True, 0.8), (False, 0.7), (True, 0.6))
    assert ours["accuracy_at_50"] == 1.0
    assert ours["accuracy_at_80"] == 0.75
    assert ours["aurc"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 4) / 4)


def test_equal_confidence_is_worth_its_mean_whatever_comes_first():
    one = measured((True, 0.7), (False, 0.7), (True, 0.9), (False, 0.5))
    other = measured((False, 0.5), (False, 0.7), (True, 0.7), (True, 0.9))
    assert one == other
    assert one["accuracy_at_50"] == (1 + 0.5) / 2


def test_the_curve_is_that_of_the_textbook_on_random_cases():
    for seed in range(50):
        rng = numpy.random.default_rng(seed)
        right, confidence = rng.random(30) < 0.7, rng.permutation(30) / 60 + 0.4
        ours = measured(*zip(right, confidence, strict=True))
        errors = 1 - right[numpy.argsort(-confidence)]
        risks = numpy.cumsum(errors) / numpy.arange(1, 31)
        assert ours["aurc"] == pytest.approx(risks.mean())
        assert ours["accuracy_at_90"] == pytest.approx(1 - risks[26])


def test_rows_without_probabilities_come_last_and_stay():
    silent = [pair({"polarity": POS}, None), pair({"polarity": POS}, {"polarity": POS})]
    ours = metrics["selective"]().measure([*silent, sure(True, 0.4), sure(True, 0.4)])
    assert ours["accuracy_at_50"] == 1.0
    assert ours["accuracy_at_90"] == 0.75
    assert measured((False, 0.5)) == {
        "accuracy_at_50": 0.0,
        "accuracy_at_80": 0.0,
        "accuracy_at_90": 0.0,
        "aurc": 1.0,
    }


def test_without_probabilities_there_is_nothing_to_select_by():
    with pytest.raises(Undefined, match="no probabilities"):
        metrics["selective"]().measure(silent := [pair({"polarity": POS}, {"polarity": POS})])
    assert len(silent) == 1
