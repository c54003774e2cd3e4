"""Test inputs on which other scorers are wrong; each test says what they report."""

import numpy
import pytest
from sklearn.metrics import f1_score

from gen_msa.metrics import metrics
from gen_msa.metrics.statistics.bootstrap import BootstrapResamples
from tests.metrics.extraction_pairs import NEG, NEU, POS, extraction_pairs
from tests.metrics.opinion_pairs import compute_metrics, pair

GOLD = [("battery life", 4, NEG), ("screen", 31, POS)]


def label_metrics(gold, predicted):
    indexed = enumerate(zip(gold, predicted, strict=True))
    pairs = [pair({"polarity": g}, {"polarity": s}, i) for i, (g, s) in indexed]
    return compute_metrics(metrics["labels"](), pairs)


def test_empty_prediction_has_f1_of_zero():
    values = compute_metrics(metrics["joint"](), extraction_pairs(GOLD, []))
    assert [values[f"mate_{x}"] for x in ("precision", "recall", "f1")] == [0, 0, 0]
    assert values["jmasa_f1"] == 0


def test_substrings_of_gold_terms_do_not_match():
    # "e, e" for "battery life, screen" had an F1 of 1.00 by substring.
    for predicted in ([("e", None, NEG), ("e", None, POS)], [("e", 2, NEG), ("e", 9, POS)]):
        values = compute_metrics(metrics["joint"](), extraction_pairs(GOLD, predicted))
        assert (values["mate_f1"], values["jmasa_f1"], values["folded"]) == (0, 0, 0)


def test_f1_is_zero_when_every_sentiment_is_wrong():
    wrong_labels = [(term, start, NEU) for term, start, _ in GOLD]
    values = compute_metrics(metrics["joint"](), extraction_pairs(GOLD, wrong_labels))
    assert (values["mate_f1"], values["jmasa_f1"], values["masc_accuracy"]) == (1, 0, 0)
    values = label_metrics([NEG, POS], [NEU, NEU])
    assert (values["accuracy"], values["macro_f1"]) == (0, 0)


def test_macro_f1_counts_missing_predictions():
    gold = [NEG, NEU, POS] * 10
    pairs = [
        pair({"polarity": g}, {"polarity": g} if i < 3 else None, i) for i, g in enumerate(gold)
    ]
    values = compute_metrics(metrics["labels"](), pairs)
    # Of each class 1 of 10 is correct and there is no false positive: 2 / (2 + 9).
    assert values["macro_f1"] == pytest.approx(2 / 11)
    assert (values["accuracy"], values["read_rate"]) == (0.1, 0.1)


def test_perfect_predictions_score_one():
    gold = [NEG, NEU, POS, POS]
    assert set(label_metrics(gold, gold).values()) == {1.0}
    scores = [-2.0, -1.0, 0.0, 1.0, 3.0]
    pairs = [pair({"score": s}, {"score": s}, i) for i, s in enumerate(scores)]
    values = compute_metrics(metrics["intensity"](), pairs)
    assert {v for k, v in values.items() if k.startswith(("acc", "f1"))} == {1.0}


def test_unparsed_answer_is_neither_dropped_nor_guessed():
    gold = [POS] * 100
    values = label_metrics(gold, [POS] * 80 + [None] * 20)
    assert values["accuracy"] == 0.8  # dropped: 1.0
    assert values["f1_positive"] == pytest.approx(160 / 180)
    assert values["f1_neutral"] == values["f1_negative"] == 0


def test_weighted_f1_weights_by_gold():
    rng = numpy.random.default_rng(0)
    gold = [NEG if i < 31 else POS for i in range(100)]
    predicted = [POS if rng.random() < 0.9 else NEG for _ in gold]
    weighted_f1 = label_metrics(gold, predicted)["weighted_f1"]
    y, p = [str(g) for g in gold], [str(s) for s in predicted]
    assert weighted_f1 == pytest.approx(f1_score(y, p, average="weighted"))
    assert abs(weighted_f1 - f1_score(p, y, average="weighted")) > 0.05


def test_bootstrap_standard_error_matches_theory():
    p, n = 0.7, 1000
    rows = numpy.column_stack([numpy.ones(n), numpy.arange(n) < p * n])
    clusters = [str(i) for i in range(n)]
    analytic = numpy.sqrt(p * (1 - p) / n)
    for replicates in (1_000, 10_000):  # it must not shrink with their number
        sums = BootstrapResamples([clusters], replicates=replicates, seed=1).replicate_sums(
            rows, clusters
        )
        assert (sums[:, 1] / sums[:, 0]).std() == pytest.approx(analytic, rel=0.08)
