"""BLEU: equal to sacrebleu's on any sample of rows, and right where whole-corpus BLEU misleads."""

import math

import numpy
import pytest
import sacrebleu
from sacrebleu.metrics import BLEU

from gen_msa.errors import UserError
from gen_msa.metrics import Undefined, metrics
from tests.metrics.saying import explained, figures, pair, texts

Bleu = metrics["bleu"]


def test_a_case_computed_by_hand():
    # 5 of 6 words, 3 of 5 pairs, 2 of 4, 1 of 3; as long as the reference.
    ours = figures(Bleu(), explained(("a b c d x f", "a b c d e f")))
    by_hand = 100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert ours == pytest.approx({"bleu": by_hand, "sentence_bleu": by_hand})


def test_a_short_text_is_penalised_by_hand():
    ours = figures(Bleu(), explained(("a b c d", "a b c d e f")))
    assert ours["bleu"] == pytest.approx(100 * math.exp(1 - 6 / 4))


def test_a_thousand_random_corpora_agree_with_sacrebleu():
    family = Bleu()
    stock = texts(0, 400)
    rows = family.rows(explained(*stock))
    peer, alone = BLEU(), BLEU(effective_order=True)
    sentences = [alone.sentence_score(e, [r]).score for e, r in stock]
    rng = numpy.random.default_rng(1)
    draws = [rng.integers(0, len(stock), rng.integers(1, 12)) for _ in range(1000)]
    counts = numpy.stack([numpy.bincount(d, minlength=len(stock)) for d in draws])
    ours = family.values(counts @ rows)
    for i, draw in enumerate(draws):
        said, gold = [stock[j][0] for j in draw], [stock[j][1] for j in draw]
        theirs = peer.corpus_score(said, [gold]).score
        assert ours["bleu"][i] == pytest.approx(theirs, abs=1e-9)
        mean = numpy.mean([sentences[j] for j in draw])
        assert ours["sentence_bleu"][i] == pytest.approx(mean, abs=1e-9)


def test_two_equal_words_are_a_whole_match_sentence_by_sentence_only():
    ours = figures(Bleu(), explained(("good screen", "good screen")))
    assert ours == pytest.approx({"bleu": 0.0, "sentence_bleu": 100.0})


def test_equal_chinese_texts_match_wholly_by_the_tokeniser_of_chinese():
    text = "屏幕很亮但是电池不好"
    ours = figures(Bleu(language="zh"), explained((text, text)))
    assert ours == pytest.approx({"bleu": 100.0, "sentence_bleu": 100.0})
    with pytest.raises(Undefined, match="set language=zh"):
        Bleu().rows(explained((text, text)))


def test_japanese_is_cut_into_characters_and_french_into_words():
    assert "tok:char" in Bleu(language="ja").signature
    assert "tok:13a" in Bleu(language="fr").signature
    assert "tok:zh" in Bleu(language="zh").signature


def test_a_missing_explanation_counts_with_the_length_of_its_reference():
    good = ("the screen is very bright today", "the screen is very bright today")
    ours = figures(Bleu(), explained(good, (None, good[1])))
    assert ours["sentence_bleu"] == pytest.approx(50.0)
    assert ours["bleu"] == pytest.approx(100 * math.exp(1 - 12 / 6))
    silent = figures(Bleu(), [*explained(good), pair({"explanation": good[1]}, None, 1)])
    assert silent == pytest.approx(ours)


def test_a_row_without_a_reference_is_not_scored():
    good = ("the screen is very bright today", "the screen is very bright today")
    rows = Bleu().rows(explained(good, ("anything", None), ("anything", "  ")))
    assert rows[:, 0].tolist() == [1.0, 0.0, 0.0]
    assert not rows[1:].any()
    with pytest.raises(Undefined, match="no gold opinion has an explanation"):
        Bleu().rows(explained(("anything", None)))


def test_an_empty_sample_is_undefined_and_not_zero():
    family = Bleu()
    empty = family.values(numpy.zeros(family.rows(explained(("a", "a"))).shape[1]))
    assert all(numpy.isnan(v) for v in empty.values())


def test_the_signature_is_that_of_sacrebleu():
    made = Bleu(lowercase=True).signature
    version = sacrebleu.__version__
    assert f"nrefs:1|case:lc|eff:no|tok:13a|smooth:exp|version:{version}" in made
    assert f"nrefs:1|case:lc|eff:yes|tok:13a|smooth:exp|version:{version}" in made


def test_options_are_checked():
    with pytest.raises(UserError, match="unknown key 'tokenize'"):
        Bleu(tokenize="intl")
    with pytest.raises(UserError, match="language"):
        Bleu(language="English")
