"""ROUGE: equal to rouge-score's in English, and right for the scripts that it reads as empty."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from gen_msa.errors import UserError
from gen_msa.metrics import Undefined, metrics
from gen_msa.metrics.rouge import common_subsequence
from tests.metrics.saying import explained, figures, texts

Rouge = metrics["rouge"]
NAMES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]


def test_a_case_computed_by_hand():
    # 5 and 4 words, 3 shared; pairs: 4 and 3, 1 shared; longest common subsequence: a b d.
    ours = figures(Rouge(), explained(("a b x d y", "a b c d")))
    assert ours["rouge1"] == ours["rougeL"] == pytest.approx(2 * 3 / 9)
    assert ours["rouge2"] == pytest.approx(2 * 1 / 7)


@pytest.mark.parametrize("stems", [False, True])
def test_a_thousand_random_pairs_agree_with_rouge_score(stems):
    family, peer = Rouge(use_stemmer=stems), RougeScorer(NAMES, use_stemmer=stems)
    rng = numpy.random.default_rng(2)
    stock = [(broken(rng, e), broken(rng, r)) for e, r in texts(4, 500)]
    rows = family.rows(explained(*stock))
    order = [f.name for f in family.figures]
    for row, (said, gold) in zip(rows, stock, strict=True):
        theirs = peer.score(gold.strip(), said.strip())
        assert row[1:].tolist() == pytest.approx([theirs[n].fmeasure for n in order], abs=1e-12)


def broken(rng, text):
    """The same words, in half of all cases over several lines."""
    lines = rng.random() < 0.5
    return "".join("\n" if lines and c == " " and rng.random() < 0.2 else c for c in text)


def test_lines_in_another_order_are_the_same_summary_but_not_the_same_sequence():
    ours = figures(Rouge(), explained(("b is bad\na is good", "a is good\nb is bad")))
    assert ours["rougeL"] == pytest.approx(0.5)
    assert ours["rougeLsum"] == pytest.approx(1.0)


def test_equal_chinese_texts_are_equal_by_characters():
    text = "屏幕很亮,但是 iPhone 电池不好"
    ours = figures(Rouge(language="zh"), explained((text, text)))
    assert set(ours.values()) == {1.0}
    near = figures(Rouge(language="zh"), explained(("屏幕很好", "屏幕很亮")))
    assert near["rouge1"] == 0.75
    with pytest.raises(Undefined, match="set language=zh"):
        Rouge().rows(explained((text, text)))


def test_an_accent_is_part_of_its_word_outside_english():
    french = Rouge(language="fr")
    assert french.tokenize("Un café") == ("un", "café")
    assert french.tokenize("Un cafe\u0301") == ("un", "café")
    assert figures(french, explained(("caf", "café")))["rouge1"] == 0.0
    # rouge-score itself reads café as caf; so do we where its own words are asked for.
    assert figures(Rouge(), explained(("caf", "a good café")))["rouge1"] == 0.5


def test_words_of_a_script_with_vowel_signs_stay_whole():
    assert Rouge(language="hi").tokenize("अच्छी स्क्रीन!") == ("अच्छी", "स्क्रीन")


def test_russian_is_not_scored_as_english():
    with pytest.raises(Undefined, match="not in English"):
        Rouge().rows(explained(("хороший экран", "хороший экран")))
    ours = figures(Rouge(language="ru"), explained(("хороший экран", "Хороший экран.")))
    assert ours["rougeL"] == 1.0


def test_a_missing_explanation_scores_nothing_and_stays():
    ours = figures(Rouge(), explained(("good screen", "good screen"), (None, "good screen")))
    assert set(ours.values()) == {0.5}


def test_the_signature_names_words_and_stemmer():
    assert "lang:en|words:rouge-score|stemmer:yes|version:" in Rouge().signature
    assert "lang:zh|words:char|stemmer:no" in Rouge(language="zh").signature
    with pytest.raises(UserError, match="knows no 'fr'"):
        Rouge(language="fr", use_stemmer=True)


def by_table(a, b):
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
def test_the_common_subsequence_by_bits_is_the_one_by_table(a, b):
    assert common_subsequence(a, b) == by_table(a, b)
