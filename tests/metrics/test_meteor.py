"""METEOR with exact and stem matches: by hand, and equal to nltk's without WordNet."""

import pytest
from nltk.translate.meteor_score import single_meteor_score

from gen_msa.metrics import Undefined, metrics
from gen_msa.metrics._words import words
from tests.metrics.saying import explained, figures, texts

Meteor = metrics["meteor"]


class NoSynonyms:
    def synsets(self, word):
        return []


def test_a_case_computed_by_hand():
    # a b | c: 3 matches in 2 chunks; P 3/4, R 3/5.
    ours = figures(Meteor(), explained(("a b x c", "a b y z c")))
    mean = (3 / 4 * 3 / 5) / (0.9 * 3 / 4 + 0.1 * 3 / 5)
    assert ours["meteor_exact_stem"] == pytest.approx((1 - 0.5 * (2 / 3) ** 3) * mean)


def test_a_stem_is_a_match_in_english_only():
    pair = explained(("it charged", "it charges"))
    assert figures(Meteor(), pair)["meteor_exact_stem"] == pytest.approx(1 - 0.5 / 8)
    exact = figures(Meteor(language="de"), pair)["meteor_exact"]
    assert exact == pytest.approx(0.5 * 0.5)


def test_a_thousand_random_pairs_agree_with_nltk():
    family = Meteor()
    for said, gold in texts(5, 1000):
        ours, theirs = words(said, "en"), words(gold, "en")
        expected = single_meteor_score(theirs, ours, wordnet=NoSynonyms())
        assert family.of(ours, theirs) == pytest.approx(expected, abs=1e-12)


def test_a_missing_explanation_scores_nothing_and_stays():
    same = "the screen is bright"
    ours = figures(Meteor(), explained((same, same), (None, same), ("x", None)))
    assert ours["meteor_exact_stem"] == pytest.approx((1 - 0.5 / 64) / 2)


def test_equal_chinese_texts_match_by_characters():
    text = "屏幕很亮"
    assert figures(Meteor(language="zh"), explained((text, text)))["meteor_exact"] > 0.99
    with pytest.raises(Undefined, match="set language=zh"):
        Meteor().rows(explained((text, text)))


def test_the_signature_says_what_is_left_out():
    assert "stem:porter|synonyms:none" in Meteor().signature
    assert "stem:none|synonyms:none" in Meteor(language="zh").signature
