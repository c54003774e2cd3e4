"""Test that METEOR with exact and stem matches equals nltk's and hand-made cases."""

from itertools import pairwise

import pytest
from nltk.stem.porter import PorterStemmer

from gen_msa.metrics import UndefinedMetric, metrics
from gen_msa.metrics._reference_based import tokenize
from tests.metrics.opinion_pairs import compute_metrics, explanation_pairs, random_text_pairs

Meteor = metrics["meteor"]


def reference_meteor(predicted, gold, stem):
    """Align each word, from the end, with the last free equal one; then by stems."""
    matches, free_predicted, free_gold = {}, dict(enumerate(predicted)), dict(enumerate(gold))
    for form in (str, stem):
        for i in sorted(free_predicted, reverse=True):
            equal = [j for j, word in free_gold.items() if form(word) == form(free_predicted[i])]
            if equal:
                matches[i] = max(equal)
                del free_predicted[i], free_gold[matches[i]]
    if not matches:
        return 0
    precision, recall = len(matches) / len(predicted), len(matches) / len(gold)
    steps = pairwise(sorted(matches.items()))
    chunks = 1 + sum((b[0] - a[0], b[1] - a[1]) != (1, 1) for a, b in steps)
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    return (1 - 0.5 * (chunks / len(matches)) ** 3) * mean


def test_meteor_by_hand():
    # a b | c: 3 matches in 2 chunks; P 3/4, R 3/5.
    scores = compute_metrics(Meteor(), explanation_pairs(("a b x c", "a b y z c")))
    mean = (3 / 4 * 3 / 5) / (0.9 * 3 / 4 + 0.1 * 3 / 5)
    assert scores["meteor_exact_stem"] == pytest.approx((1 - 0.5 * (2 / 3) ** 3) * mean)


def test_meteor_stems_english_only():
    pairs = explanation_pairs(("it charged", "it charges"))
    assert compute_metrics(Meteor(), pairs)["meteor_exact_stem"] == pytest.approx(1 - 0.5 / 8)
    exact = compute_metrics(Meteor(language="de"), pairs)["meteor_exact"]
    assert exact == pytest.approx(0.5 * 0.5)


@pytest.mark.parametrize(("language", "stem"), [("en", PorterStemmer().stem), ("de", str)])
def test_meteor_matches_reference(language, stem):
    family = Meteor(language=language)
    for prediction, gold in random_text_pairs(5, 1000):
        predicted_tokens, gold_tokens = tokenize(prediction, language), tokenize(gold, language)
        expected = reference_meteor(predicted_tokens, gold_tokens, stem)
        assert family.score_words(predicted_tokens, gold_tokens) == pytest.approx(
            expected, abs=1e-12
        )


def test_meteor_of_missing_explanation_is_zero():
    sentence = "the screen is bright"
    scores = compute_metrics(
        Meteor(), explanation_pairs((sentence, sentence), (None, sentence), ("x", None))
    )
    assert scores["meteor_exact_stem"] == pytest.approx((1 - 0.5 / 64) / 2)


def test_meteor_matches_chinese_by_characters():
    text = "屏幕很亮"
    assert (
        compute_metrics(Meteor(language="zh"), explanation_pairs((text, text)))["meteor_exact"]
        > 0.99
    )
    with pytest.raises(UndefinedMetric, match="set language=zh"):
        Meteor().row_statistics(explanation_pairs((text, text)))


def test_meteor_signature_names_stemmer_and_synonyms():
    assert "stem:porter|synonyms:none" in Meteor().signature
    assert "stem:none|synonyms:none" in Meteor(language="zh").signature
