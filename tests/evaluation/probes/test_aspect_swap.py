"""Aspect swap: a prediction follows the aspect, and not its name."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.evaluation.probes.aspect_swap import invent_name, rename_aspect
from gen_msa.types import OVERALL_ASPECT, Aspect, Post
from tests.evaluation.probes.fake_predictors import (
    NEG,
    NEU,
    POS,
    FakePredictor,
    run_probe,
    two_aspect_examples,
    with_gold,
)

EXAMPLES = two_aspect_examples(40)


def polarity_after_aspect(post, aspect):
    after = post.text[aspect.end :].split()[1].rstrip(",")
    return {"splendid": POS, "dreadful": NEG}.get(after, NEU)


def polarity_by_post_id(post, aspect):
    return POS if int(post.id[1:]) % 3 else NEG


def polarity_by_term(post, aspect):
    return POS if aspect.term == "kettle" else NEG if aspect.term == "teapot" else NEU


def test_aspect_based_predictor_follows_the_aspect_not_its_name():
    predictor = FakePredictor(polarity_after_aspect)
    metrics = run_probe("aspect_swap", predictor, EXAMPLES).metrics
    assert metrics["directional_accuracy"].value == metrics["followed"].value == 1
    assert metrics["directional_accuracy"].n == 80
    assert metrics["pull"].value == pytest.approx(0.97)
    assert metrics["rename_flip_rate"].value == 0
    assert metrics["rename_dp"].value == metrics["rename_accuracy_drop"].value == 0


def test_aspect_blind_predictor_is_at_chance():
    metrics = run_probe("aspect_swap", FakePredictor(polarity_by_post_id), EXAMPLES).metrics
    assert metrics["directional_accuracy"].value == 0.5
    assert metrics["followed"].value == metrics["pull"].value == 0


def test_name_based_predictor_flips_when_renamed():
    metrics = run_probe("aspect_swap", FakePredictor(polarity_by_term), EXAMPLES).metrics
    assert metrics["rename_flip_rate"].value == 1
    assert metrics["rename_dp"].value == pytest.approx(0.97)
    assert metrics["rename_accuracy_drop"].value == pytest.approx(0.5)


def test_aspect_swap_predicts_each_renamed_row_once():
    predictor = FakePredictor(polarity_after_aspect)
    result = run_probe("aspect_swap", predictor, EXAMPLES, limit=5)
    assert len(predictor.received_posts) == 10
    assert [t.variant for t in result.trials].count("swap") == 10
    assert all("splendid" in p.text and "dreadful" in p.text for p in predictor.received_posts)


def test_aspect_swap_without_opposites_has_only_rename_metrics():
    examples = [with_gold(e.post, POS, NEU) for e in EXAMPLES[:6]]
    metrics = run_probe("aspect_swap", FakePredictor(polarity_after_aspect), examples).metrics
    assert metrics["directional_accuracy"].value is None
    assert "pairs of opposite gold" in metrics["directional_accuracy"].note
    assert metrics["rename_flip_rate"].n == 12
    contrast_metrics = run_probe(
        "aspect_swap",
        FakePredictor(polarity_by_post_id),
        examples,
        options={"contrast": "different"},
    ).metrics
    assert contrast_metrics["directional_accuracy"].n == 12


def test_aspect_swap_is_not_applicable_to_overall_aspects():
    examples = [with_gold(Post(id="w1", text="So it goes", aspects=(OVERALL_ASPECT,)), POS)]
    metrics = run_probe("aspect_swap", FakePredictor(polarity_by_post_id), examples).metrics
    assert "not applicable" in metrics["followed"].note


def test_rename_aspect_skips_partial_words_and_rival_aspects():
    text = "iPhone or iPhones? My iPhone, my iPhone case. #iPhone"
    phone, case = Aspect(term="iPhone", start=0), Aspect(term="iPhone case", start=33)
    post = Post(id="1", text=text, aspects=(phone, case))
    renamed_post, aspect = rename_aspect(post, phone, random.Random(1))
    name = aspect.term
    assert renamed_post.text == f"{name} or iPhones? My {name}, my iPhone case. #{name}"
    assert renamed_post.text[renamed_post.aspects[1].start :].startswith("iPhone case")
    assert rename_aspect(post, case, random.Random(1))[0].text.startswith("iPhone or iPhones?")
    assert rename_aspect(post, OVERALL_ASPECT, random.Random(1)) is None
    assert rename_aspect(post, Aspect(term="tablet"), random.Random(1)) is None


def test_rename_aspect_skips_aspect_overlapping_a_rival():
    aspects = (Aspect(term="New York", start=0), Aspect(term="York City", start=4))
    post = Post(id="1", text="New York City", aspects=aspects)
    assert rename_aspect(post, aspects[0], random.Random(0)) is None


@given(st.text(min_size=1, max_size=20), st.integers(0, 9))
def test_invent_name_changes_only_letters(term, seed):
    name = invent_name(term, random.Random(seed))
    assert [c for c in name if not c.isalnum()] == [c for c in term if not c.isalnum()]
    assert [c for c in name if c.isdecimal()] == [c for c in term if c.isdecimal()]
    assert name == invent_name(term, random.Random(seed))


@given(st.lists(st.sampled_from(["tea", "TEA", "teas", "cup", "-", "é"]), min_size=1, max_size=12))
def test_rename_aspect_keeps_offsets_correct(words):
    text = " ".join(words)
    starts = [i for i in range(len(text)) if text.startswith("tea", i)][:1]
    for start in starts:
        aspect = Aspect(term="tea", start=start)
        renamed_post, renamed_aspect = rename_aspect(
            Post(id="1", text=text, aspects=(aspect,)), aspect, random.Random(2)
        )
        assert (
            renamed_post.text[renamed_aspect.start : renamed_aspect.end]
            == renamed_aspect.term
            != "tea"
        )
