"""Weighted and unweighted accuracy: equal to scikit-learn's accuracy and balanced accuracy."""

import warnings

import numpy
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from gen_msa.errors import UserError
from gen_msa.metrics import Undefined, metrics
from gen_msa.types import Polarity
from tests.metrics.saying import figures, pair

WaUa = metrics["wa_ua"]
NEG, NEU, POS = Polarity


def labelled(gold, said):
    rows = zip(gold, said, strict=True)
    return [pair({"polarity": g}, {"polarity": s}, i) for i, (g, s) in enumerate(rows)]


def test_a_case_computed_by_hand():
    # Recalls 2/3, 0 (unread), 1.
    ours = figures(WaUa(), labelled([NEG, NEG, NEG, NEU, POS], [NEG, NEG, POS, None, POS]))
    assert ours == pytest.approx({"ua": (2 / 3 + 0 + 1) / 3, "wa": 0.6})


def test_a_thousand_random_cases_agree_with_scikit_learn():
    for number in range(1000):
        rng = numpy.random.default_rng(number)
        gold = rng.choice(rng.permutation(3)[: rng.integers(1, 4)], rng.integers(1, 30))
        said = rng.integers(0, 4, len(gold))  # 3: unread
        answers = [*Polarity, None]
        ours = figures(WaUa(), labelled([answers[g] for g in gold], [answers[s] for s in said]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that unread is no class of gold
            expected = balanced_accuracy_score(gold, said)
        assert ours == pytest.approx({"ua": expected, "wa": accuracy_score(gold, said)})


def test_what_cannot_be_scored_is_said():
    with pytest.raises(Undefined, match="no gold opinion has a polarity"):
        WaUa().rows([pair({}, {"polarity": NEG})])
    with pytest.raises(UserError, match="unknown key 'classes'"):
        WaUa(classes=4)
