"""Figures of labels: equal to scikit-learn's, and an unread answer is wrong, never dropped."""

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
from gen_msa.metrics import Undefined, metrics
from gen_msa.metrics.labels import f1, score
from gen_msa.metrics.statistics.wilson import wilson
from gen_msa.types import Polarity
from tests.metrics.saying import figures, pair

NEG, NEU, POS = Polarity
ORDER = {p: i for i, p in enumerate(Polarity)}
UNREAD = 3
"""What the oracle is told of an answer without a polarity: a class outside its labels."""


def random_case(number):
    rng = numpy.random.default_rng(number)
    n = int(rng.integers(1, 60))
    classes = rng.permutation(3)[: rng.integers(1, 4)]  # often a class never occurs in gold
    gold = [list(Polarity)[i] for i in rng.choice(classes, n)]
    unread = rng.choice([0.0, 0.1, 0.9, 1.0])
    said = [None if rng.random() < unread else list(Polarity)[rng.integers(3)] for _ in gold]
    return gold, said


def labelled(gold, said):
    both = enumerate(zip(gold, said, strict=True))
    return [pair({"polarity": g}, {"polarity": s}, i) for i, (g, s) in both]


@config_context(assume_finite=True, skip_parameter_validation=True)
def test_a_thousand_random_cases_agree_with_scikit_learn():
    family = metrics["labels"]()
    for number in range(1000):
        gold, said = random_case(number)
        scores, rows = score(gold, said), family.rows(labelled(gold, said))
        ours = family.values(rows.sum(axis=0))
        y = numpy.array([ORDER[g] for g in gold])
        p = numpy.array([ORDER.get(s, UNREAD) for s in said])
        precision, recall, f1s, weight = precision_recall_fscore_support(
            y, p, labels=[0, 1, 2], zero_division=0
        )
        accuracy = accuracy_score(y, p)
        assert (scores.accuracy, ours["accuracy"]) == pytest.approx((accuracy, accuracy))
        assert (scores.macro_f1, ours["macro_f1"]) == pytest.approx((f1s.mean(), f1s.mean()))
        assert ours["weighted_f1"] == pytest.approx((f1s * weight).sum() / weight.sum(), abs=1e-12)
        assert [scores.f1[c] for c in Polarity] == pytest.approx(list(f1s), abs=1e-12)
        for name, theirs in (("f1", f1s), ("precision", precision), ("recall", recall)):
            assert [ours[f"{name}_{c}"] for c in Polarity] == pytest.approx(theirs, abs=1e-12)
        table = confusion_matrix(y, p, labels=[0, 1, 2, UNREAD])[:3].tolist()
        assert [list(scores.confusion[g].values()) for g in Polarity] == table
        assert rows.sum(axis=0)[1:].reshape(3, 4).tolist() == table
        assert scores.read_rate == ours["read_rate"] == sum(s is not None for s in said) / len(gold)


def test_a_family_case_computed_by_hand():
    ours = figures(metrics["labels"](), labelled([NEG, NEG, NEU, POS], [NEG, NEU, NEU, None]))
    assert (ours["accuracy"], ours["read_rate"]) == (0.5, 0.75)
    assert (ours["precision_neutral"], ours["recall_neutral"]) == (0.5, 1.0)
    assert ours["macro_f1"] == pytest.approx(4 / 9)
    assert ours["weighted_f1"] == pytest.approx((2 * 2 / 3 + 2 / 3 + 0) / 4)


def test_a_missing_answer_counts_like_an_unread_one_and_a_row_without_gold_not_at_all():
    family = metrics["labels"]()
    silent = [pair({"polarity": NEG}, {"polarity": NEG}, 1), pair({"polarity": POS}, None, 2)]
    unread = [*silent[:1], pair({"polarity": POS}, {}, 2)]
    beside = [pair(None, {"polarity": POS}, 3), pair({}, {"polarity": POS}, 4)]
    assert figures(family, silent) == figures(family, unread) == figures(family, silent + beside)
    assert family.rows(silent + beside)[:, 0].tolist() == [1, 1, 0, 0]
    assert not family.rows(silent + beside)[2:].any()


def test_the_family_says_why_it_has_nothing_to_say():
    with pytest.raises(Undefined, match="no rows"):
        metrics["labels"]().rows([])
    with pytest.raises(Undefined, match="no gold opinion has a polarity"):
        metrics["labels"]().rows([pair({}, {"polarity": POS})])
    with pytest.raises(UserError, match="metric labels: unknown key 'classes'"):
        metrics["labels"](classes=2)


def test_a_case_computed_by_hand():
    ours = score([NEG, NEG, NEU, POS], [NEG, NEU, NEU, None])
    assert (ours.n, ours.read, ours.right) == (4, 3, 2)
    assert ours.f1 == {NEG: 2 / 3, NEU: 2 / 3, POS: 0.0}
    assert ours.macro_f1 == pytest.approx(4 / 9)
    assert ours.confusion[POS] == {NEG: 0, NEU: 0, POS: 0, None: 1}


def test_an_unread_opinion_is_wrong_and_stays_in_the_count():
    assert score([NEG, POS], [NEG, None]).accuracy == 0.5
    assert score([NEG], [None]).macro_f1 == 0.0


def test_nothing_to_score_and_unequal_lengths_are_errors():
    with pytest.raises(ValueError, match="nothing to score"):
        score([], [])
    with pytest.raises(ValueError, match="zip"):
        score([NEG], [NEG, POS])


def test_f1_of_counts():
    assert f1(2, 4, 5) == pytest.approx(2 * (2 / 4) * (2 / 5) / (2 / 4 + 2 / 5))
    assert f1(0, 0, 0) == 0.0


def test_wilson_gives_the_published_figures():
    # Newcombe 1998, table I, method 3.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    with pytest.raises(ValueError, match="no share"):
        wilson(0, 0)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_narrows_with_n(case):
    right, n = case
    low, high = wilson(right, n)
    assert 0 <= low <= right / n + 1e-12
    assert right / n - 1e-12 <= high <= 1
    wide = wilson(4 * right, 4 * n)
    assert wide[1] - wide[0] < high - low or math.isclose(high, low)
