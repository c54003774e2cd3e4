"""Test that BLEU equals sacrebleu's on any sample of rows."""

import math

import numpy
import pytest
import sacrebleu
from sacrebleu.metrics import BLEU

from gen_msa.errors import UserError
from gen_msa.metrics import UndefinedMetric, metrics
from tests.metrics.opinion_pairs import compute_metrics, explanation_pairs, pair, random_text_pairs

Bleu = metrics["bleu"]


def test_bleu_by_hand():
    # 5 of 6 words, 3 of 5 pairs, 2 of 4, 1 of 3; as long as the reference.
    scores = compute_metrics(Bleu(), explanation_pairs(("a b c d x f", "a b c d e f")))
    expected = 100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert scores == pytest.approx({"bleu": expected, "sentence_bleu": expected})


def test_bleu_brevity_penalty_by_hand():
    scores = compute_metrics(Bleu(), explanation_pairs(("a b c d", "a b c d e f")))
    assert scores["bleu"] == pytest.approx(100 * math.exp(1 - 6 / 4))


def test_bleu_matches_sacrebleu():
    family = Bleu()
    text_pairs = random_text_pairs(0, 400)
    rows = family.row_statistics(explanation_pairs(*text_pairs))
    corpus_metric, sentence_metric = BLEU(), BLEU(effective_order=True)
    sentences = [sentence_metric.sentence_score(e, [r]).score for e, r in text_pairs]
    rng = numpy.random.default_rng(1)
    draws = [rng.integers(0, len(text_pairs), rng.integers(1, 12)) for _ in range(1000)]
    counts = numpy.stack([numpy.bincount(d, minlength=len(text_pairs)) for d in draws])
    scores = family.compute(counts @ rows)
    for i, draw in enumerate(draws):
        predictions, gold = [text_pairs[j][0] for j in draw], [text_pairs[j][1] for j in draw]
        expected = corpus_metric.corpus_score(predictions, [gold]).score
        assert scores["bleu"][i] == pytest.approx(expected, abs=1e-9)
        mean = numpy.mean([sentences[j] for j in draw])
        assert scores["sentence_bleu"][i] == pytest.approx(mean, abs=1e-9)


def test_two_equal_words_score_100_in_sentence_bleu_only():
    scores = compute_metrics(Bleu(), explanation_pairs(("good screen", "good screen")))
    assert scores == pytest.approx({"bleu": 0.0, "sentence_bleu": 100.0})


def test_bleu_uses_chinese_tokenizer():
    text = "屏幕很亮但是电池不好"
    scores = compute_metrics(Bleu(language="zh"), explanation_pairs((text, text)))
    assert scores == pytest.approx({"bleu": 100.0, "sentence_bleu": 100.0})
    with pytest.raises(UndefinedMetric, match="set language=zh"):
        Bleu().row_statistics(explanation_pairs((text, text)))


def test_bleu_tokenizer_by_language():
    assert "tok:char" in Bleu(language="ja").signature
    assert "tok:13a" in Bleu(language="fr").signature
    assert "tok:zh" in Bleu(language="zh").signature


def test_bleu_counts_missing_explanation_with_reference_length():
    identical = ("the screen is very bright today", "the screen is very bright today")
    scores = compute_metrics(Bleu(), explanation_pairs(identical, (None, identical[1])))
    assert scores["sentence_bleu"] == pytest.approx(50.0)
    assert scores["bleu"] == pytest.approx(100 * math.exp(1 - 12 / 6))
    without_prediction = compute_metrics(
        Bleu(), [*explanation_pairs(identical), pair({"explanation": identical[1]}, None, 1)]
    )
    assert without_prediction == pytest.approx(scores)


def test_bleu_skips_rows_without_reference():
    identical = ("the screen is very bright today", "the screen is very bright today")
    rows = Bleu().row_statistics(
        explanation_pairs(identical, ("anything", None), ("anything", "  "))
    )
    assert rows[:, 0].tolist() == [1.0, 0.0, 0.0]
    assert not rows[1:].any()
    with pytest.raises(UndefinedMetric, match="no reference opinion has an explanation"):
        Bleu().row_statistics(explanation_pairs(("anything", None)))


def test_bleu_of_empty_sample_is_nan():
    family = Bleu()
    values = family.compute(
        numpy.zeros(family.row_statistics(explanation_pairs(("a", "a"))).shape[1])
    )
    assert all(numpy.isnan(v) for v in values.values())


def test_bleu_signature_matches_sacrebleu():
    signature = Bleu(lowercase=True).signature
    version = sacrebleu.__version__
    assert f"nrefs:1|case:lc|eff:no|tok:13a|smooth:exp|version:{version}" in signature
    assert f"nrefs:1|case:lc|eff:yes|tok:13a|smooth:exp|version:{version}" in signature


def test_bleu_rejects_unknown_options():
    with pytest.raises(UserError, match="unknown key 'tokenize'"):
        Bleu(tokenize="intl")
    with pytest.raises(UserError, match="language"):
        Bleu(language="English")
