"""Test that ROUGE equals rouge-score's in English, and is right for other scripts."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from gen_msa.errors import UserError
from gen_msa.metrics import UndefinedMetric, metrics
from gen_msa.metrics.rouge import lcs_length
from tests.metrics.opinion_pairs import compute_metrics, explanation_pairs, random_text_pairs

Rouge = metrics["rouge"]
NAMES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]


def test_rouge_by_hand():
    # 5 and 4 words, 3 shared; pairs: 4 and 3, 1 shared; longest common subsequence: a b d.
    scores = compute_metrics(Rouge(), explanation_pairs(("a b x d y", "a b c d")))
    assert scores["rouge1"] == scores["rougeL"] == pytest.approx(2 * 3 / 9)
    assert scores["rouge2"] == pytest.approx(2 * 1 / 7)


@pytest.mark.parametrize("stems", [False, True])
def test_rouge_matches_rouge_score(stems):
    family, scorer = Rouge(use_stemmer=stems), RougeScorer(NAMES, use_stemmer=stems)
    rng = numpy.random.default_rng(2)
    text_pairs = [
        (with_line_breaks(rng, e), with_line_breaks(rng, r)) for e, r in random_text_pairs(4, 500)
    ]
    rows = family.row_statistics(explanation_pairs(*text_pairs))
    order = [f.name for f in family.specs]
    for row, (prediction, gold) in zip(rows, text_pairs, strict=True):
        expected = scorer.score(gold.strip(), prediction.strip())
        assert row[1:].tolist() == pytest.approx([expected[n].fmeasure for n in order], abs=1e-12)


def with_line_breaks(rng, text):
    """Return the same words, in half of the cases on several lines."""
    multiline = rng.random() < 0.5
    return "".join("\n" if multiline and c == " " and rng.random() < 0.2 else c for c in text)


def test_rouge_lsum_ignores_line_order():
    scores = compute_metrics(
        Rouge(), explanation_pairs(("b is bad\na is good", "a is good\nb is bad"))
    )
    assert scores["rougeL"] == pytest.approx(0.5)
    assert scores["rougeLsum"] == pytest.approx(1.0)


def test_rouge_of_chinese_uses_characters():
    text = "屏幕很亮,但是 iPhone 电池不好"
    scores = compute_metrics(Rouge(language="zh"), explanation_pairs((text, text)))
    assert set(scores.values()) == {1.0}
    similar_scores = compute_metrics(
        Rouge(language="zh"), explanation_pairs(("屏幕很好", "屏幕很亮"))
    )
    assert similar_scores["rouge1"] == 0.75
    with pytest.raises(UndefinedMetric, match="set language=zh"):
        Rouge().row_statistics(explanation_pairs((text, text)))


def test_rouge_keeps_accents_outside_english():
    family = Rouge(language="fr")
    assert family.tokenize("Un café") == ("un", "café")
    assert family.tokenize("Un cafe\u0301") == ("un", "café")
    assert compute_metrics(family, explanation_pairs(("caf", "café")))["rouge1"] == 0.0
    # rouge-score reduces café to caf; so does this metric with its tokenizer.
    assert compute_metrics(Rouge(), explanation_pairs(("caf", "a good café")))["rouge1"] == 0.5


def test_rouge_tokenizer_keeps_vowel_signs():
    assert Rouge(language="hi").tokenize("अच्छी स्क्रीन!") == ("अच्छी", "स्क्रीन")


def test_rouge_does_not_score_russian_as_english():
    with pytest.raises(UndefinedMetric, match="not in English"):
        Rouge().row_statistics(explanation_pairs(("хороший экран", "хороший экран")))
    scores = compute_metrics(
        Rouge(language="ru"), explanation_pairs(("хороший экран", "Хороший экран."))
    )
    assert scores["rougeL"] == 1.0


def test_rouge_of_missing_explanation_is_zero():
    scores = compute_metrics(
        Rouge(), explanation_pairs(("good screen", "good screen"), (None, "good screen"))
    )
    assert set(scores.values()) == {0.5}


def test_rouge_signature_names_tokenizer_and_stemmer():
    assert "lang:en|words:rouge-score|stemmer:yes|version:" in Rouge().signature
    assert "lang:zh|words:char|stemmer:no" in Rouge(language="zh").signature
    with pytest.raises(UserError, match="does not support 'fr'"):
        Rouge(language="fr", use_stemmer=True)


def lcs_by_table(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
            )
    return table[-1][-1]


@given(
    st.lists(st.sampled_from("abcd"), max_size=80), st.lists(st.sampled_from("abcde"), max_size=80)
)
def test_lcs_length_matches_table(a, b):
    assert lcs_length(a, b) == lcs_by_table(a, b)
