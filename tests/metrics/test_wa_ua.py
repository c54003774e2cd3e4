"""Test that both accuracies equal scikit-learn's accuracy and balanced accuracy."""

import warnings

import numpy
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from gen_msa.errors import UserError
from gen_msa.metrics import UndefinedMetric, metrics
from gen_msa.types import Polarity
from tests.metrics.opinion_pairs import compute_metrics, pair

WaUa = metrics["wa_ua"]
NEG, NEU, POS = Polarity


def label_pairs(gold, predicted):
    rows = zip(gold, predicted, strict=True)
    return [pair({"polarity": g}, {"polarity": s}, i) for i, (g, s) in enumerate(rows)]


def test_wa_ua_by_hand():
    # Recalls 2/3, 0 (unparsed), 1.
    values = compute_metrics(
        WaUa(), label_pairs([NEG, NEG, NEG, NEU, POS], [NEG, NEG, POS, None, POS])
    )
    assert values == pytest.approx({"ua": (2 / 3 + 0 + 1) / 3, "wa": 0.6})


def test_wa_ua_match_scikit_learn():
    for seed in range(1000):
        rng = numpy.random.default_rng(seed)
        gold = rng.choice(rng.permutation(3)[: rng.integers(1, 4)], rng.integers(1, 30))
        predicted = rng.integers(0, 4, len(gold))  # 3: unparsed
        labels = [*Polarity, None]
        values = compute_metrics(
            WaUa(), label_pairs([labels[g] for g in gold], [labels[s] for s in predicted])
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unparsed is no class of gold
            expected = balanced_accuracy_score(gold, predicted)
        assert values == pytest.approx({"ua": expected, "wa": accuracy_score(gold, predicted)})


def test_wa_ua_reject_unscorable_input():
    with pytest.raises(UndefinedMetric, match="no gold opinion has a polarity"):
        WaUa().row_statistics([pair({}, {"polarity": NEG})])
    with pytest.raises(UserError, match="unknown key 'classes'"):
        WaUa(classes=4)
