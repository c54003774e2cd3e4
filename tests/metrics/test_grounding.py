"""Claims and their sources: cases by hand, and shuffled explanations lose their ground."""

from math import isnan

import pytest

from gen_msa.metrics import Undefined, metrics
from gen_msa.metrics._permuting import permuted
from gen_msa.metrics._stopwords import STOP, stem
from gen_msa.metrics.grounding import claims
from tests.metrics.explaining import figures, pair, shipped, silent

TEXT = "The battery gives up before lunch 😩"
SHOWN = {"caption": "A phone whose battery sign is red.", "objects": "phone, table"}


def test_a_case_by_hand():
    said = 'The battery is too weak: it "gives up before lunch"; its sign is red, a lunch phone.'
    row = pair(TEXT, "battery", said, shown=SHOWN)
    assert [(c.words, c.in_text, c.in_picture) for c in claims(row)] == [
        ("gives up before lunch", True, False),
        ("weak", False, False),
        ("sign", False, True),
        ("red", False, True),
        ("lunch", True, False),
        ("phone", False, True),
    ]
    assert figures("grounding", [row]) == {
        "precision": pytest.approx(5 / 6),
        "responds": 1,
        "text": pytest.approx(2 / 6),
        "picture": pytest.approx(3 / 6),
        "both": 0,
        "nowhere": pytest.approx(1 / 6),
        "claims": 6,
    }


def test_precision_is_the_mean_over_explanations_that_claim_something():
    rows = [
        pair(TEXT, "battery", "Lunch, it gives.", post="1"),  # 1 of 1
        pair(TEXT, "battery", "Rain, wind, lunch, snow.", post="2"),  # 1 of 4
        pair(TEXT, "battery", "The battery is praised in this post.", post="3"),  # no claim
        pair(TEXT, "battery", "", post="4"),
        silent(post="5"),
    ]
    found = figures("grounding", rows)
    assert found["precision"] == (1 + 1 / 4) / 2
    assert found["responds"] == 2 / 4
    assert (found["text"], found["nowhere"], found["claims"]) == (2 / 5, 3 / 5, 2.5)


def test_a_reader_that_claims_nothing_has_no_precision():
    found = figures("grounding", [pair(TEXT, "battery", "It is positive.")])
    assert found["responds"] == 0
    assert isnan(found["precision"])
    with pytest.raises(Undefined, match="said nothing"):
        metrics["grounding"]().rows([silent()])


def test_a_claim_may_have_both_sources_and_a_picture_nobody_described_none():
    said = "The battery, at lunch, is on a phone."
    seen = pair(TEXT, "sign", said, shown={"objects": "battery"})
    assert figures("grounding", [seen])["both"] == pytest.approx(1 / 3)
    assert figures("grounding", [pair(TEXT, "sign", said)])["picture"] == 0


@pytest.mark.parametrize(
    ("forms", "same"),
    [
        (("give", "gives", "giving"), "giv"),
        (("battery", "batteries"), "battery"),
        (("stop", "stops", "stopped", "stopping"), "stop"),
        (("dress", "dresses"), "dres"),
        (("quick", "quickly"), "quick"),
        (("phone", "phones", "phone's"), "phon"),
        (("red",), "red"),
        (("bus", "buses"), "bus"),
    ],
)
def test_forms_of_a_word_have_one_stem(forms, same):
    assert {stem(f) for f in forms} == {same}


def test_words_of_the_verdict_and_of_reporting_claim_nothing():
    said = ["praised", "blamed", "positive", "mentions", "author's", "the", "shows", "is"]
    assert {stem(word) for word in said} <= STOP


def test_shuffled_explanations_lose_their_ground():
    pairs = shipped()
    before, after = figures("grounding", pairs), figures("grounding", permuted(pairs, 0))
    assert before["precision"] > 0.6
    assert before["picture"] > 0.1
    assert after["precision"] < 0.1
    assert after["responds"] == pytest.approx(before["responds"], abs=0.05)
