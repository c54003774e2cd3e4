"""Test that labels equal scikit-learn's metrics, with unparsed answers as wrong ones."""

import math

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
)

from gen_msa.errors import UserError
from gen_msa.metrics import UndefinedMetric, metrics
from gen_msa.metrics.labels import f1, score_labels
from gen_msa.metrics.statistics.proportions import wilson_interval
from gen_msa.types import Polarity
from tests.metrics.opinion_pairs import compute_metrics, pair

NEG, NEU, POS = Polarity
LABEL_IDS = {p: i for i, p in enumerate(Polarity)}
UNPARSED_ID = 3
"""The label of an unparsed answer for scikit-learn: a class outside its labels."""


def random_case(seed):
    rng = numpy.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    classes = rng.permutation(3)[: rng.integers(1, 4)]  # often a class never occurs in gold
    gold = [list(Polarity)[i] for i in rng.choice(classes, n)]
    unparsed_share = rng.choice([0.0, 0.1, 0.9, 1.0])
    predicted = [
        None if rng.random() < unparsed_share else list(Polarity)[rng.integers(3)] for _ in gold
    ]
    return gold, predicted


def label_pairs(gold, predicted):
    indexed = enumerate(zip(gold, predicted, strict=True))
    return [pair({"polarity": g}, {"polarity": s}, i) for i, (g, s) in indexed]


@config_context(assume_finite=True, skip_parameter_validation=True)
def test_label_metrics_match_scikit_learn():
    family = metrics["labels"]()
    for seed in range(1000):
        gold, predicted = random_case(seed)
        scores, rows = (
            score_labels(gold, predicted),
            family.row_statistics(label_pairs(gold, predicted)),
        )
        values = family.compute(rows.sum(axis=0))
        y = numpy.array([LABEL_IDS[g] for g in gold])
        p = numpy.array([LABEL_IDS.get(s, UNPARSED_ID) for s in predicted])
        precision, recall, f1s, weight = precision_recall_fscore_support(
            y, p, labels=[0, 1, 2], zero_division=0
        )
        accuracy = accuracy_score(y, p)
        assert (scores.accuracy, values["accuracy"]) == pytest.approx((accuracy, accuracy))
        assert (scores.macro_f1, values["macro_f1"]) == pytest.approx((f1s.mean(), f1s.mean()))
        assert values["weighted_f1"] == pytest.approx(
            (f1s * weight).sum() / weight.sum(), abs=1e-12
        )
        assert [scores.f1[c] for c in Polarity] == pytest.approx(list(f1s), abs=1e-12)
        for name, expected in (("f1", f1s), ("precision", precision), ("recall", recall)):
            assert [values[f"{name}_{c}"] for c in Polarity] == pytest.approx(expected, abs=1e-12)
        confusion = confusion_matrix(y, p, labels=[0, 1, 2, UNPARSED_ID])[:3].tolist()
        assert [list(scores.confusion[g].values()) for g in Polarity] == confusion
        assert rows.sum(axis=0)[1:].reshape(3, 4).tolist() == confusion
        assert (
            scores.read_rate
            == values["read_rate"]
            == sum(s is not None for s in predicted) / len(gold)
        )


def test_label_metrics_by_hand():
    values = compute_metrics(
        metrics["labels"](), label_pairs([NEG, NEG, NEU, POS], [NEG, NEU, NEU, None])
    )
    assert (values["accuracy"], values["read_rate"]) == (0.5, 0.75)
    assert (values["precision_neutral"], values["recall_neutral"]) == (0.5, 1.0)
    assert values["macro_f1"] == pytest.approx(4 / 9)
    assert values["weighted_f1"] == pytest.approx((2 * 2 / 3 + 2 / 3 + 0) / 4)


def test_missing_answer_counts_like_an_unparsed_one():
    family = metrics["labels"]()
    missing = [pair({"polarity": NEG}, {"polarity": NEG}, 1), pair({"polarity": POS}, None, 2)]
    unparsed = [*missing[:1], pair({"polarity": POS}, {}, 2)]
    unlabelled = [pair(None, {"polarity": POS}, 3), pair({}, {"polarity": POS}, 4)]
    assert (
        compute_metrics(family, missing)
        == compute_metrics(family, unparsed)
        == compute_metrics(family, missing + unlabelled)
    )
    assert family.row_statistics(missing + unlabelled)[:, 0].tolist() == [1, 1, 0, 0]
    assert not family.row_statistics(missing + unlabelled)[2:].any()


def test_label_metrics_reject_empty_input_and_unknown_options():
    with pytest.raises(UndefinedMetric, match="no rows"):
        metrics["labels"]().row_statistics([])
    with pytest.raises(UndefinedMetric, match="no gold opinion has a polarity"):
        metrics["labels"]().row_statistics([pair({}, {"polarity": POS})])
    with pytest.raises(UserError, match="metric labels: unknown key 'classes'"):
        metrics["labels"](classes=2)


def test_score_labels_by_hand():
    scores = score_labels([NEG, NEG, NEU, POS], [NEG, NEU, NEU, None])
    assert (scores.n, scores.n_read, scores.n_correct) == (4, 3, 2)
    assert scores.f1 == {NEG: 2 / 3, NEU: 2 / 3, POS: 0.0}
    assert scores.macro_f1 == pytest.approx(4 / 9)
    assert scores.confusion[POS] == {NEG: 0, NEU: 0, POS: 0, None: 1}


def test_score_labels_counts_unparsed_as_wrong():
    assert score_labels([NEG, POS], [NEG, None]).accuracy == 0.5
    assert score_labels([NEG], [None]).macro_f1 == 0.0


def test_score_labels_rejects_empty_and_uneven_input():
    with pytest.raises(ValueError, match="nothing to score"):
        score_labels([], [])
    with pytest.raises(ValueError, match="zip"):
        score_labels([NEG], [NEG, POS])


def test_f1_of_counts():
    assert f1(2, 4, 5) == pytest.approx(2 * (2 / 4) * (2 / 5) / (2 / 4 + 2 / 5))
    assert f1(0, 0, 0) == 0.0


def test_wilson_interval_matches_published_values():
    # Newcombe 1998, table I, method 3.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    with pytest.raises(ValueError, match="not a share"):
        wilson_interval(0, 0)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_covers_the_share_and_narrows_with_n(case):
    n_correct, n = case
    low, high = wilson_interval(n_correct, n)
    assert 0 <= low <= n_correct / n + 1e-12
    assert n_correct / n - 1e-12 <= high <= 1
    narrower = wilson_interval(4 * n_correct, 4 * n)
    assert narrower[1] - narrower[0] < high - low or math.isclose(high, low)
