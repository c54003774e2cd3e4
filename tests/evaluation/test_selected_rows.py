"""Example rows are selected by the metrics."""

import numpy as np

from gen_msa.evaluation.evaluate import find_disagreements, rank_explanations
from gen_msa.metrics import pair_up
from tests.evaluation.phone_examples import example, opinion


def pair_all(examples, annotator):
    return [p for e in examples for p in pair_up(e, annotator)]


def test_find_disagreements_puts_most_divided_rows_first():
    examples = [
        example(0, "positive", a="positive", b="positive", c="positive"),
        example(1, "positive", a="negative", b="neutral", c="negative"),
        example(2, "positive", a="positive", b="negative", c="negative"),
    ]
    rows = find_disagreements({annotator: pair_all(examples, annotator) for annotator in "abc"})
    assert [r.post for r in rows] == ["p2", "p1"]
    assert rows[0].reason == "a: positive, b: negative, c: negative"
    assert (rows[0].aspect, rows[0].start) == ("phone", 4)


def test_find_disagreements_of_one_system_is_empty():
    assert find_disagreements({"a": pair_all([example(0, "positive", a="negative")], "a")}) == ()


def test_rank_explanations_by_correctness_metrics_and_confidence():
    examples = [example(i, "positive") for i in range(4)]
    labels = ["positive", "positive", "negative", "negative"]
    examples = [
        e.with_opinions(opinion("r", label, f"The phone, {i}"))
        for i, (e, label) in enumerate(zip(examples, labels, strict=True))
    ]
    per_row_scores = {"aspect_mention": np.array([0.0, 1.0, 1.0, np.nan])}
    best, worst = rank_explanations("r", pair_all(examples, "r"), per_row_scores)
    assert best[0].post == "p1"
    assert best[0].reason == "r: right, aspect_mention 1.00, probability 0.75"
    assert [w.post for w in worst] == ["p3", "p2"]
    assert worst[0].reason == "r: wrong, gold is positive, probability 0.75"


def test_rank_explanations_is_empty_without_explanations():
    assert rank_explanations("r", pair_all([example(0, "positive", r="positive")], "r"), {}) == (
        (),
        (),
    )
