"""Test that chrF equals sacrebleu's on any sample of rows."""

import numpy
import pytest
from sacrebleu.metrics import CHRF

from gen_msa.metrics import UndefinedMetric, metrics
from tests.metrics.opinion_pairs import compute_metrics, explanation_pairs, random_text_pairs

Chrf = metrics["chrf"]


def test_chrf_by_hand():
    # "abcd" and "abce": 3 of 4, 2 of 3, 1 of 2, 0 of 1; precision = recall = F.
    scores = compute_metrics(Chrf(), explanation_pairs(("ab cd", "ab ce")))
    assert scores["chrf"] == pytest.approx(100 * (3 / 4 + 2 / 3 + 1 / 2 + 0) / 4)


@pytest.mark.parametrize("lowercase", [False, True])
def test_chrf_matches_sacrebleu(lowercase):
    family, reference_metric = Chrf(lowercase=lowercase), CHRF(lowercase=lowercase)
    text_pairs = [(e.title(), r) for e, r in random_text_pairs(3, 300)]
    text_pairs += [("a", "abc def"), ("abc def", "a"), ("", "abc"), ("xyz", "abc")]
    rows = family.row_statistics(explanation_pairs(*text_pairs))
    sentences = [reference_metric.sentence_score(e, [r]).score for e, r in text_pairs]
    rng = numpy.random.default_rng(1)
    draws = [rng.integers(0, len(text_pairs), rng.integers(1, 5)) for _ in range(500)]
    counts = numpy.stack([numpy.bincount(d, minlength=len(text_pairs)) for d in draws])
    scores = family.compute(counts @ rows)
    for i, draw in enumerate(draws):
        expected = reference_metric.corpus_score(
            [text_pairs[j][0] for j in draw], [[text_pairs[j][1] for j in draw]]
        )
        assert scores["chrf"][i] == pytest.approx(expected.score, abs=1e-9)
        mean = numpy.mean([sentences[j] for j in draw])
        assert scores["sentence_chrf"][i] == pytest.approx(mean, abs=1e-9)


def test_chrf_of_equal_texts_is_100_in_any_script():
    for text in ("good screen", "屏幕很亮", "café", "a"):
        scores = compute_metrics(Chrf(), explanation_pairs((text, text)))
        assert scores == pytest.approx({"chrf": 100.0, "sentence_chrf": 100.0})


def test_chrf_of_missing_explanation_is_zero():
    scores = compute_metrics(
        Chrf(), explanation_pairs(("good screen", "good screen"), (None, "good screen"))
    )
    assert scores["sentence_chrf"] == pytest.approx(50.0)
    # Precision 1, recall 1/2: 5 P R / (4 P + R).
    assert scores["chrf"] == pytest.approx(100 * 5 * 0.5 / 4.5)
    with pytest.raises(UndefinedMetric):
        Chrf().row_statistics(explanation_pairs(("anything", None)))


def test_chrf_signature_matches_sacrebleu():
    assert "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:" in Chrf().signature
