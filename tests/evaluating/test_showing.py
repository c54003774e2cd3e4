"""The rows that are shown are chosen by the figures."""

import numpy as np

from gen_msa.evaluating.showing import disagreements, explanations
from gen_msa.metrics import pair_up
from tests.evaluating.phones import example, opinion


def said(examples, by):
    return [p for e in examples for p in pair_up(e, by)]


def test_only_rows_on_which_readers_part_are_shown_the_most_divided_first():
    examples = [
        example(0, "positive", a="positive", b="positive", c="positive"),
        example(1, "positive", a="negative", b="neutral", c="negative"),
        example(2, "positive", a="positive", b="negative", c="negative"),
    ]
    rows = disagreements({by: said(examples, by) for by in "abc"})
    assert [r.post for r in rows] == ["p2", "p1"]
    assert rows[0].why == "a: positive, b: negative, c: negative"
    assert (rows[0].aspect, rows[0].start) == ("phone", 4)


def test_one_reader_parts_from_nobody():
    assert disagreements({"a": said([example(0, "positive", a="negative")], "a")}) == ()


def test_the_best_explanation_is_right_and_well_marked_and_the_worst_wrong_and_sure():
    examples = [example(i, "positive") for i in range(4)]
    labels = ["positive", "positive", "negative", "negative"]
    examples = [
        e.adding(opinion("r", label, f"The phone, {i}"))
        for i, (e, label) in enumerate(zip(examples, labels, strict=True))
    ]
    marks = {"naming": np.array([0.0, 1.0, 1.0, np.nan])}
    best, worst = explanations("r", said(examples, "r"), marks)
    assert best[0].post == "p1"
    assert best[0].why == "r: right, naming 1.00, probability 0.75"
    assert [w.post for w in worst] == ["p3", "p2"]
    assert worst[0].why == "r: wrong, gold is positive, probability 0.75"


def test_without_explanations_nothing_is_shown():
    assert explanations("r", said([example(0, "positive", r="positive")], "r"), {}) == ((), ())
