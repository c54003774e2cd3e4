"""Inputs on which other scorers print what is not so; each test names what was printed there."""

import numpy
import pytest
from sklearn.metrics import f1_score

from gen_msa.metrics import metrics
from gen_msa.metrics.statistics.bootstrap import Draws
from tests.metrics.extracting import NEG, NEU, POS, found
from tests.metrics.saying import figures, pair

GOLD = [("battery life", 4, NEG), ("screen", 31, POS)]


def labels(gold, said):
    both = enumerate(zip(gold, said, strict=True))
    pairs = [pair({"polarity": g}, {"polarity": s}, i) for i, (g, s) in both]
    return figures(metrics["labels"](), pairs)


def test_an_empty_prediction_has_an_f1_of_0_not_1_33():
    got = figures(metrics["joint"](), found(GOLD, []))
    assert [got[f"mate_{x}"] for x in ("precision", "recall", "f1")] == [0, 0, 0]
    assert got["jmasa_f1"] == 0


def test_letters_that_occur_in_gold_terms_are_not_found_aspects():
    # "e, e" for "battery life, screen" had an F1 of 1.00 by substring.
    for said in ([("e", None, NEG), ("e", None, POS)], [("e", 2, NEG), ("e", 9, POS)]):
        got = figures(metrics["joint"](), found(GOLD, said))
        assert (got["mate_f1"], got["jmasa_f1"], got["folded"]) == (0, 0, 0)


def test_where_every_sentiment_is_wrong_f1_is_0_not_1():
    wrong = [(term, start, NEU) for term, start, _ in GOLD]
    got = figures(metrics["joint"](), found(GOLD, wrong))
    assert (got["mate_f1"], got["jmasa_f1"], got["masc_accuracy"]) == (1, 0, 0)
    got = labels([NEG, POS], [NEU, NEU])
    assert (got["accuracy"], got["macro_f1"]) == (0, 0)


def test_where_90_percent_of_posts_have_no_prediction_macro_f1_is_not_1():
    gold = [NEG, NEU, POS] * 10
    pairs = [
        pair({"polarity": g}, {"polarity": g} if i < 3 else None, i) for i, g in enumerate(gold)
    ]
    got = figures(metrics["labels"](), pairs)
    # Of each class 1 of 10 is right and nothing wrong is said: 2 / (2 + 9).
    assert got["macro_f1"] == pytest.approx(2 / 11)
    assert (got["accuracy"], got["read_rate"]) == (0.1, 0.1)


def test_perfect_predictions_are_perfect_not_0_52():
    gold = [NEG, NEU, POS, POS]
    assert set(labels(gold, gold).values()) == {1.0}
    scores = [-2.0, -1.0, 0.0, 1.0, 3.0]
    pairs = [pair({"score": s}, {"score": s}, i) for i, s in enumerate(scores)]
    got = figures(metrics["intensity"](), pairs)
    assert {v for k, v in got.items() if k.startswith(("acc", "f1"))} == {1.0}


def test_an_unread_answer_is_neither_dropped_nor_guessed():
    gold = [POS] * 100
    got = labels(gold, [POS] * 80 + [None] * 20)
    assert got["accuracy"] == 0.8  # dropped: 1.0
    assert got["f1_positive"] == pytest.approx(160 / 180)
    assert got["f1_neutral"] == got["f1_negative"] == 0


def test_weighted_f1_takes_gold_first():
    rng = numpy.random.default_rng(0)
    gold = [NEG if i < 31 else POS for i in range(100)]
    said = [POS if rng.random() < 0.9 else NEG for _ in gold]
    got = labels(gold, said)["weighted_f1"]
    y, p = [str(g) for g in gold], [str(s) for s in said]
    assert got == pytest.approx(f1_score(y, p, average="weighted"))
    assert abs(got - f1_score(p, y, average="weighted")) > 0.05


def test_the_bootstrap_standard_error_is_that_of_theory_not_30_times_smaller():
    p, n = 0.7, 1000
    rows = numpy.column_stack([numpy.ones(n), numpy.arange(n) < p * n])
    one_each = [str(i) for i in range(n)]
    analytic = numpy.sqrt(p * (1 - p) / n)
    for replicates in (1_000, 10_000):  # it must not shrink with their number
        drawn = Draws([one_each], replicates=replicates, seed=1).sums(rows, one_each)
        assert (drawn[:, 1] / drawn[:, 0]).std() == pytest.approx(analytic, rel=0.08)
