"""Test selective accuracy: rows in order of confidence, independent of the order of the file."""

import numpy
import pytest

from gen_msa.metrics import UndefinedMetric, metrics
from gen_msa.types import Polarity
from tests.metrics.opinion_pairs import pair

NEG, NEU, POS = Polarity


def confidence_pair(is_correct, confidence):
    other_prob = (1 - confidence) / 2
    probs = None if confidence is None else {NEG: other_prob, NEU: other_prob, POS: confidence}
    return pair({"polarity": POS if is_correct else NEG}, {"polarity": POS, "probs": probs})


def selective_metrics(*rows):
    return metrics["selective_accuracy"]().measure([confidence_pair(*row) for row in rows])


def test_selective_accuracy_by_hand():
    values = selective_metrics((True, 0.9), (True, 0.8), (False, 0.7), (True, 0.6))
    assert values["accuracy_at_50"] == 1.0
    assert values["accuracy_at_80"] == 0.75
    assert values["aurc"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 4) / 4)


def test_selective_accuracy_averages_ties():
    first = selective_metrics((True, 0.7), (False, 0.7), (True, 0.9), (False, 0.5))
    second = selective_metrics((False, 0.5), (False, 0.7), (True, 0.7), (True, 0.9))
    assert first == second
    assert first["accuracy_at_50"] == (1 + 0.5) / 2


def test_aurc_matches_textbook_curve():
    for seed in range(50):
        rng = numpy.random.default_rng(seed)
        correct, confidence = rng.random(30) < 0.7, rng.permutation(30) / 60 + 0.4
        values = selective_metrics(*zip(correct, confidence, strict=True))
        errors = 1 - correct[numpy.argsort(-confidence)]
        risks = numpy.cumsum(errors) / numpy.arange(1, 31)
        assert values["aurc"] == pytest.approx(risks.mean())
        assert values["accuracy_at_90"] == pytest.approx(1 - risks[26])


def test_rows_without_probabilities_rank_last():
    without_probs = [pair({"polarity": POS}, None), pair({"polarity": POS}, {"polarity": POS})]
    values = metrics["selective_accuracy"]().measure(
        [*without_probs, confidence_pair(True, 0.4), confidence_pair(True, 0.4)]
    )
    assert values["accuracy_at_50"] == 1.0
    assert values["accuracy_at_90"] == 0.75
    assert selective_metrics((False, 0.5)) == {
        "accuracy_at_50": 0.0,
        "accuracy_at_80": 0.0,
        "accuracy_at_90": 0.0,
        "aurc": 1.0,
    }


def test_selective_accuracy_is_undefined_without_probabilities():
    with pytest.raises(UndefinedMetric, match="no probabilities"):
        metrics["selective_accuracy"]().measure(
            without_probs := [pair({"polarity": POS}, {"polarity": POS})]
        )
    assert len(without_probs) == 1
