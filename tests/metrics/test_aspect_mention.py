"""Test aspect mentions: hand-made cases, and chance level for shuffled explanations."""

from math import isnan

import numpy
import pytest

from gen_msa.errors import UserError
from gen_msa.metrics import UndefinedMetric, metrics
from gen_msa.metrics._pairs import shuffle_explanations
from gen_msa.spans import SearchableText
from tests.metrics.explanation_pairs import (
    compute_metrics,
    pair,
    pair_without_prediction,
    tiny_pairs,
)

TEXT = "The camera is unreal but the battery life is short, so is the battery"


@pytest.mark.parametrize(
    ("term", "others", "explanation", "named", "rival"),
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
def test_aspect_mention_by_hand(term, others, explanation, named, rival):
    values = compute_metrics("aspect_mention", [pair(TEXT, term, explanation, *others)])
    assert values["named"] == named
    assert isnan(values["rival"]) if rival is None else values["rival"] == rival


def test_aspect_mention_rates_have_their_own_denominators():
    rows = [
        pair(TEXT, "camera", "The camera is fine.", "battery"),
        pair(TEXT, "camera", "The battery is fine.", "battery"),
        pair(TEXT, "camera", "Fine.", post="2"),
        pair(TEXT, "camera", "", post="3"),
        pair(TEXT, "", "All is fine.", post="4"),
        pair_without_prediction(post="5"),
    ]
    assert compute_metrics("aspect_mention", rows) == {
        "named": pytest.approx(1 / 3),
        "rival": 1 / 2,
    }


@pytest.mark.parametrize(
    ("text", "term", "explanation"),
    [
        ("Das Straßenfest und die Straße", "Straße", "Die STRASSE ist laut."),
        ("这个电池很糟糕", "电池", "电池很糟糕"),
        ("café noir", "café", "The cafe\u0301 pleases."),
        ("the phone", "phone", "The phone's screen."),
    ],
)
def test_aspect_mention_ignores_case_and_composition(text, term, explanation):
    assert compute_metrics("aspect_mention", [pair(text, term, explanation)])["named"] == 1


def test_same_term_elsewhere_is_no_rival():
    row = pair("The coffee here, the Coffee there", "coffee", "The coffee is good.", "Coffee")
    assert isnan(compute_metrics("aspect_mention", [row])["rival"])


def test_shuffled_explanations_mention_aspects_by_chance():
    pairs = tiny_pairs()
    assert compute_metrics("aspect_mention", pairs)["named"] > 0.9
    chance_mentions = [
        next(SearchableText(q.explanation).find_whole_words(p.prediction.aspect.term), None)
        is not None
        for p in pairs
        for q in pairs
        if p.post.id != q.post.id
    ]
    shuffled = [
        compute_metrics("aspect_mention", shuffle_explanations(pairs, seed))["named"]
        for seed in range(20)
    ]
    # 20 shuffles of about 77 rows: the standard error of their mean is well below 1 %.
    assert numpy.mean(shuffled) == pytest.approx(numpy.mean(chance_mentions), abs=0.01)
    assert max(shuffled) < 0.1


def test_aspect_mention_rejects_empty_input_and_options():
    with pytest.raises(UndefinedMetric, match="no row has an explanation"):
        metrics["aspect_mention"]().row_statistics([pair_without_prediction()])
    with pytest.raises(UserError, match="no option strict"):
        metrics["aspect_mention"](strict=True)
