"""METEOR with exact and stem matches, without WordNet: nltk's, and equal to one by hand."""

from itertools import pairwise

import pytest
from nltk.stem.porter import PorterStemmer

from gen_msa.metrics import Undefined, metrics
from gen_msa.metrics._words import words
from tests.metrics.saying import explained, figures, texts

Meteor = metrics["meteor"]


def by_hand(said, gold, stem):
    """Each word takes the last equal one that is free, from the end; then stems do."""
    matches, free_said, free_gold = {}, dict(enumerate(said)), dict(enumerate(gold))
    for form in (str, stem):
        for i in sorted(free_said, reverse=True):
            equal = [j for j, word in free_gold.items() if form(word) == form(free_said[i])]
            if equal:
                matches[i] = max(equal)
                del free_said[i], free_gold[matches[i]]
    if not matches:
        return 0
    precision, recall = len(matches) / len(said), len(matches) / len(gold)
    steps = pairwise(sorted(matches.items()))
    chunks = 1 + sum((b[0] - a[0], b[1] - a[1]) != (1, 1) for a, b in steps)
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    return (1 - 0.5 * (chunks / len(matches)) ** 3) * mean


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


@pytest.mark.parametrize(("language", "stem"), [("en", PorterStemmer().stem), ("de", str)])
def test_a_thousand_random_pairs_agree_with_one_by_hand(language, stem):
    family = Meteor(language=language)
    for said, gold in texts(5, 1000):
        ours, theirs = words(said, language), words(gold, language)
        expected = by_hand(ours, theirs, stem)
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
