"""Erasure: a model that depends on one word loses its label with that word, and with no other."""

import random

import pytest

from gen_msa.errors import UserError
from gen_msa.evaluation.probes.erasure import WordEraser
from gen_msa.types import Aspect, Post
from tests.evaluation.probes.fake_predictors import (
    FILLER_WORDS,
    FakePredictor,
    decided_examples,
    polarity_by_word,
    run_probe,
    with_gold,
)

EXAMPLES = [e for e in decided_examples(60) if "plain" not in e.post.text]


def deciding_word(post, aspect):
    return next((w for w in ("dreadful", "splendid") if w in post.text), "")


def random_filler_word(post, aspect):
    others = [w for w in post.text.split() if w in FILLER_WORDS]
    return random.Random(post.id).choice(others or [""])


def test_deciding_evidence_is_comprehensive_and_sufficient():
    metrics = run_probe(
        "erasure", FakePredictor(polarity_by_word, quote=deciding_word), EXAMPLES
    ).metrics
    assert metrics["comprehensiveness"].value == pytest.approx(0.97)
    assert metrics["comprehensiveness_random"].value == pytest.approx(0)
    assert metrics["comprehensiveness_gain"].low > 0.75
    assert metrics["sufficiency"].value == pytest.approx(0)
    assert metrics["sufficiency_random"].value == pytest.approx(0.97)
    assert metrics["sufficiency_gain"].low > 0.75
    assert metrics["has_evidence"].value == 1


def test_random_evidence_has_no_gain_over_other_words():
    metrics = run_probe(
        "erasure", FakePredictor(polarity_by_word, quote=random_filler_word), EXAMPLES
    ).metrics
    assert metrics["comprehensiveness"].value == pytest.approx(0)
    for name in ("comprehensiveness_gain", "sufficiency_gain"):
        assert abs(metrics[name].value) < 0.15
        assert metrics[name].low <= 0 <= metrics[name].high or metrics[name].high < 0.05


def test_erasure_counts_rows_without_evidence():
    def word_of_odd_posts(post, aspect):
        return deciding_word(post, aspect) if int(post.id[1:]) % 2 else ""

    metrics = run_probe(
        "erasure", FakePredictor(polarity_by_word, quote=word_of_odd_posts), EXAMPLES
    ).metrics
    assert metrics["has_evidence"].n == 40
    assert metrics["has_evidence"].value == 0.5
    assert metrics["comprehensiveness"].n == 20
    assert "20 of 40 rows quote no word besides the aspect" in metrics["comprehensiveness"].note


def test_erasure_predicts_two_variants_per_row_and_draw():
    predictor = FakePredictor(polarity_by_word, quote=deciding_word)
    result = run_probe("erasure", predictor, EXAMPLES, options={"n_random": 2}, limit=10)
    assert len(result.trials) == 10 * (2 + 2 * 2)
    assert len(predictor.received_posts) == 60
    erased = [t for t in result.trials if t.variant == "erased"]
    assert {t.description for t in erased} == {"dreadful", "splendid"}
    assert all(t.after == "neutral" and t.flipped == 1 for t in erased)


@pytest.mark.parametrize(
    ("predictor", "message"),
    [
        (
            FakePredictor(polarity_by_word, quote=deciding_word, gives_probs=False),
            "gives no probabilities",
        ),
        (FakePredictor(polarity_by_word), "quotes no word"),
        (
            FakePredictor(polarity_by_word, quote=lambda p, a: a.term),
            "quotes no word of any post besides",
        ),
        (
            FakePredictor(polarity_by_word, quote=lambda p, a: p.text),
            "the whole text besides the aspect",
        ),
    ],
)
def test_erasure_reports_why_it_is_not_applicable(predictor, message):
    metrics = run_probe("erasure", predictor, EXAMPLES).metrics
    assert {v.value for v in metrics.values()} == {None}
    assert all(
        v.n == 0 and "not applicable" in v.note and message in v.note for v in metrics.values()
    )


def test_erasure_rejects_unknown_option():
    with pytest.raises(UserError, match="did you mean 'n_random'"):
        run_probe("erasure", FakePredictor(polarity_by_word), EXAMPLES, options={"n_randm": 2})


def test_word_eraser_keeps_aspects_and_their_offsets():
    text = "Sadly, the  New York   office isn't great 😩 !! 東京も"
    york, office = Aspect(term="New York", start=12), Aspect(term="office", start=23)
    post = Post(id="1", text=text, aspects=(york, office))
    eraser = WordEraser(post)
    assert [text[slice(*s)] for s in eraser.spans] == [
        "Sadly", "the", "isn't", "great", "😩", "東", "京", "も",
    ]  # fmt: skip
    mask = eraser.mask_for([(text.index("great") + 1, text.index("great") + 3)])
    erased_post, aspect = eraser.erase(mask, office)
    assert erased_post.text == "Sadly, the New York office isn't 😩 !! 東京も"
    assert aspect == erased_post.aspects[1] == Aspect(term="office", start=20)
    reduced_post, aspect = eraser.keep(mask, york)
    assert reduced_post.text == "New York office great"
    assert aspect.start == 0


def test_word_eraser_can_empty_a_post():
    post = Post(id="1", text="so bad!", aspects=(Aspect(term=""),))
    eraser = WordEraser(post)
    assert eraser.erase([True, True], post.aspects[0])[0].text == "!"
    assert eraser.keep([False, False], post.aspects[0])[0].text == ""
    assert eraser.keep([False, True], post.aspects[0])[0].text == "bad"


def test_erased_posts_keep_id_and_aspects_but_drop_parse():
    predictor = FakePredictor(polarity_by_word, quote=deciding_word)
    post = EXAMPLES[0].post
    rival = Aspect(term="tram", start=post.text.index("tram"))
    post_with_rival = post.model_copy(update={"aspects": (*post.aspects, rival)})
    run_probe(
        "erasure",
        predictor,
        [with_gold(post_with_rival, "negative", "neutral"), *EXAMPLES[1:]],
        limit=60,
    )
    changed_posts = [p for p in predictor.received_posts if p.id == post_with_rival.id]
    assert changed_posts
    assert all([a.term for a in p.aspects] == ["kettle", "tram"] for p in changed_posts)
    assert all(p.parse is None for p in changed_posts)
