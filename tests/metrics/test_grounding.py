"""Test claims and their sources: hand-made cases, and shuffled explanations."""

from math import isnan

import pytest

from gen_msa.metrics import UndefinedMetric, metrics
from gen_msa.metrics._pairs import shuffle_explanations
from gen_msa.metrics.grounding import STOP_STEMS, extract_claims, stem
from tests.metrics.explanation_pairs import (
    compute_metrics,
    pair,
    pair_without_prediction,
    tiny_pairs,
)

TEXT = "The battery gives up before lunch 😩"
IMAGE_TEXTS = {"caption": "A phone whose battery sign is red.", "objects": "phone, table"}


def test_grounding_by_hand():
    explanation = (
        'The battery is too weak: it "gives up before lunch"; its sign is red, a lunch phone.'
    )
    row = pair(TEXT, "battery", explanation, extra_inputs=IMAGE_TEXTS)
    assert [(c.text, c.in_text, c.in_image) for c in extract_claims(row)] == [
        ("gives up before lunch", True, False),
        ("weak", False, False),
        ("sign", False, True),
        ("red", False, True),
        ("lunch", True, False),
        ("phone", False, True),
    ]
    assert compute_metrics("grounding", [row]) == {
        "precision": pytest.approx(5 / 6),
        "responds": 1,
        "text": pytest.approx(2 / 6),
        "image": pytest.approx(3 / 6),
        "both": 0,
        "unsupported": pytest.approx(1 / 6),
        "claims": 6,
    }


def test_grounding_precision_averages_explanations_with_claims():
    rows = [
        pair(TEXT, "battery", "Lunch, it gives.", post="1"),  # 1 of 1
        pair(TEXT, "battery", "Rain, wind, lunch, snow.", post="2"),  # 1 of 4
        pair(TEXT, "battery", "The battery is praised in this post.", post="3"),  # no claim
        pair(TEXT, "battery", "", post="4"),
        pair_without_prediction(post="5"),
    ]
    values = compute_metrics("grounding", rows)
    assert values["precision"] == (1 + 1 / 4) / 2
    assert values["responds"] == 2 / 4
    assert (values["text"], values["unsupported"], values["claims"]) == (2 / 5, 3 / 5, 2.5)


def test_grounding_precision_is_nan_without_claims():
    values = compute_metrics("grounding", [pair(TEXT, "battery", "It is positive.")])
    assert values["responds"] == 0
    assert isnan(values["precision"])
    with pytest.raises(UndefinedMetric, match="there are no predictions"):
        metrics["grounding"]().row_statistics([pair_without_prediction()])


def test_claim_may_be_in_text_and_image():
    explanation = "The battery, at lunch, is on a phone."
    row_with_objects = pair(TEXT, "sign", explanation, extra_inputs={"objects": "battery"})
    assert compute_metrics("grounding", [row_with_objects])["both"] == pytest.approx(1 / 3)
    assert compute_metrics("grounding", [pair(TEXT, "sign", explanation)])["image"] == 0


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
def test_stem_maps_word_forms_together(forms, same):
    assert {stem(f) for f in forms} == {same}


def test_stop_stems_cover_verdict_and_reporting_words():
    words = ["praised", "blamed", "positive", "mentions", "author's", "the", "shows", "is"]
    assert {stem(word) for word in words} <= STOP_STEMS


def test_shuffled_explanations_lose_grounding():
    pairs = tiny_pairs()
    before, after = (
        compute_metrics("grounding", pairs),
        compute_metrics("grounding", shuffle_explanations(pairs, 0)),
    )
    assert before["precision"] > 0.6
    assert before["image"] > 0.1
    assert after["precision"] < 0.1
    assert after["responds"] == pytest.approx(before["responds"], abs=0.05)
