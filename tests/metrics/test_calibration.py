"""Test that calibration equals scikit-learn's, and that rows without probabilities are reported."""

import numpy
import pytest
from sklearn import config_context
from sklearn.metrics import brier_score_loss, log_loss

from gen_msa.errors import UserError
from gen_msa.metrics import UndefinedMetric, metrics
from gen_msa.metrics.calibration import calibration_curve
from gen_msa.types import Polarity
from tests.metrics.opinion_pairs import compute_metrics, pair

NEG, NEU, POS = Polarity


def prediction_pair(gold, predicted, *probs, number=0):
    """Gold's polarity, the reader's, and its probabilities in the classes' order."""
    label_probs = dict(zip(Polarity, probs, strict=True)) if probs else None
    return pair({"polarity": gold}, {"polarity": predicted, "probs": label_probs}, number)


def random_case(seed):
    rng = numpy.random.default_rng(seed)
    n = int(rng.integers(1, 50))
    probs = rng.dirichlet(rng.choice([0.3, 1.0, 5.0]) * numpy.ones(3), n)
    label_ids = rng.integers(3, size=n)
    classes = list(Polarity)
    pairs = [
        prediction_pair(classes[t], classes[p.argmax()], *p)
        for t, p in zip(label_ids, probs, strict=True)
    ]
    return label_ids, probs, pairs


@config_context(assume_finite=True, skip_parameter_validation=True)
def test_calibration_matches_scikit_learn():
    floor = 1e-15
    family = metrics["calibration"](floor=floor)
    for seed in range(1000):
        label_ids, probs, pairs = random_case(seed)
        values = compute_metrics(family, pairs)
        clipped = numpy.clip(probs, floor, 1)
        assert values["nll"] == pytest.approx(
            log_loss(label_ids, clipped, labels=[0, 1, 2]), rel=1e-9
        )
        brier = brier_score_loss(label_ids, probs, labels=[0, 1, 2], scale_by_half=False)
        assert values["brier"] == pytest.approx(brier, abs=1e-12)
        assert values["confidence"] == pytest.approx(probs.max(axis=1).mean())
        assert values["ece"] == pytest.approx(textbook_ece(label_ids, probs, 15), abs=1e-12)


def textbook_ece(label_ids, probs, n):
    """The textbook's loop over bins."""
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == label_ids
    total = 0.0
    for i in range(n):
        in_bin = (confidence > i / n) & (confidence <= (i + 1) / n)
        if in_bin.any():
            total += in_bin.mean() * abs(correct[in_bin].mean() - confidence[in_bin].mean())
    return total


def test_calibration_by_hand():
    values = compute_metrics(
        metrics["calibration"](bins=2),
        [
            prediction_pair(POS, POS, 0.1, 0.1, 0.8),
            prediction_pair(NEG, POS, 0.2, 0.2, 0.6),
            prediction_pair(NEG, NEU),
        ],
    )
    assert values["brier"] == pytest.approx((0.06 + 0.64 + 0.04 + 0.36) / 2)
    assert values["nll"] == pytest.approx(-(numpy.log(0.8) + numpy.log(0.2)) / 2)
    assert values["ece"] == pytest.approx(abs(0.5 - 0.7))
    assert values["confidence"] == pytest.approx(0.7)
    assert values["has_probs"] == pytest.approx(2 / 3)


def test_ece_of_calibrated_predictions_is_zero():
    pairs = [
        prediction_pair(POS if i < 7 else NEG, POS, 0.1, 0.2, 0.7, number=i) for i in range(10)
    ]
    assert compute_metrics(metrics["calibration"](), pairs)["ece"] == pytest.approx(0)


def test_unparsed_answer_counts_as_wrong():
    values = compute_metrics(metrics["calibration"](), [prediction_pair(POS, None, 0.0, 0.0, 1.0)])
    assert values["ece"] == 1.0
    assert values["confidence"] == 1.0


def test_confidence_is_of_the_predicted_class():
    assert (
        compute_metrics(metrics["calibration"](), [prediction_pair(NEG, NEG, 0.3, 0.1, 0.6)])[
            "confidence"
        ]
        == 0.3
    )


def test_nll_uses_probability_floor():
    values = compute_metrics(
        metrics["calibration"](floor=0.001), [prediction_pair(NEG, POS, 0.0, 0.0, 1.0)]
    )
    assert values["nll"] == pytest.approx(-numpy.log(0.001))


def test_calibration_curve_bin_edges_and_empty_bins():
    pairs = [prediction_pair(POS, POS, 0.25, 0.25, 0.5), prediction_pair(POS, POS, 0.0, 0.0, 1.0)]
    curve = calibration_curve([*pairs, prediction_pair(POS, NEU, 0.4, 0.1, 0.5)], n=4)
    assert [(b.low, b.high, b.n) for b in curve] == [(0, 0.25, 1), (0.25, 0.5, 1), (0.75, 1, 1)]
    assert [(b.confidence, b.accuracy) for b in curve] == [(0.1, 0), (0.5, 1), (1, 1)]


def test_calibration_is_undefined_without_probabilities():
    with pytest.raises(UndefinedMetric, match="no probabilities"):
        metrics["calibration"]().row_statistics([prediction_pair(POS, POS)])
    with pytest.raises(UndefinedMetric, match="no rows"):
        calibration_curve([])
    with pytest.raises(UserError, match="bins"):
        metrics["calibration"](bins=0)
