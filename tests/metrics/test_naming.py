"""Aspects named and rivals credited: cases by hand, and chance for shuffled explanations."""

from math import isnan

import numpy
import pytest

from gen_msa.errors import UserError
from gen_msa.metrics import Undefined, metrics
from gen_msa.metrics._permuting import permuted
from gen_msa.spans import Spans
from tests.metrics.explaining import figures, pair, shipped, silent

TEXT = "The camera is unreal but the battery life is short, so is the battery"


@pytest.mark.parametrize(
    ("term", "others", "said", "named", "rival"),
    [
        ("camera", ("battery life",), "The camera is praised.", 1, 0),
        ("camera", ("battery life",), "Praised as unreal.", 0, 0),
        ("camera", ("battery life",), "The battery life is short.", 0, 1),
        ("camera", ("battery life",), "The battery life is short, the camera is not.", 1, 1),
        ("camera", ("battery life",), "The CAMERA beats the battery life.", 1, 0),
        ("camera", ("battery life",), 'It says "the battery life is short".', 0, 0),
        ("camera", ("battery life",), 'Here "battery life" is blamed.', 0, 1),
        ("camera", ("battery life",), 'The post says "camera is unreal".', 1, 0),
        ("camera", ("battery life",), "The cameras are praised.", 0, 0),
        ("battery", ("battery life",), "The battery life is short.", 0, 1),
        ("battery life", ("battery",), "The battery life is short.", 1, 0),
        ("battery life", ("battery",), "The battery is short.", 0, 1),
        ("camera", (), "The battery is short.", 0, None),
    ],
)
def test_a_case_by_hand(term, others, said, named, rival):
    found = figures("naming", [pair(TEXT, term, said, *others)])
    assert found["named"] == named
    assert isnan(found["rival"]) if rival is None else found["rival"] == rival


def test_both_rates_have_their_own_rows():
    rows = [
        pair(TEXT, "camera", "The camera is fine.", "battery"),
        pair(TEXT, "camera", "The battery is fine.", "battery"),
        pair(TEXT, "camera", "Fine.", post="2"),
        pair(TEXT, "camera", "", post="3"),
        pair(TEXT, "", "All is fine.", post="4"),
        silent(post="5"),
    ]
    assert figures("naming", rows) == {"named": pytest.approx(1 / 3), "rival": 1 / 2}


@pytest.mark.parametrize(
    ("text", "term", "said"),
    [
        ("Das Straßenfest und die Straße", "Straße", "Die STRASSE ist laut."),
        ("这个电池很糟糕", "电池", "电池很糟糕"),
        ("café noir", "café", "The cafe\u0301 pleases."),
        ("the phone", "phone", "The phone's screen."),
    ],
)
def test_letters_may_be_composed_and_cased_otherwise(text, term, said):
    assert figures("naming", [pair(text, term, said)])["named"] == 1


def test_the_name_of_another_coffee_is_no_rival():
    row = pair("The coffee here, the Coffee there", "coffee", "The coffee is good.", "Coffee")
    assert isnan(figures("naming", [row])["rival"])


def test_shuffled_explanations_fall_to_chance():
    pairs = shipped()
    assert figures("naming", pairs)["named"] > 0.9
    others = [
        next(Spans(q.explanation).whole(p.said.aspect.term), None) is not None
        for p in pairs
        for q in pairs
        if p.post.id != q.post.id
    ]
    shuffled = [figures("naming", permuted(pairs, seed))["named"] for seed in range(20)]
    # 20 shuffles of some 77 rows: the standard error of their mean is well below one percent.
    assert numpy.mean(shuffled) == pytest.approx(numpy.mean(others), abs=0.01)
    assert max(shuffled) < 0.1


def test_nothing_to_score_and_an_option_are_said():
    with pytest.raises(Undefined, match="no row has an explanation"):
        metrics["naming"]().rows([silent()])
    with pytest.raises(UserError, match="no option strict"):
        metrics["naming"](strict=True)
