"""chrF: equal to sacrebleu's on any sample of rows."""

import numpy
import pytest
from sacrebleu.metrics import CHRF

from gen_msa.metrics import Undefined, metrics
from tests.metrics.saying import explained, figures, texts

Chrf = metrics["chrf"]


def test_a_case_computed_by_hand():
    # "abcd" and "abce": 3 of 4, 2 of 3, 1 of 2, 0 of 1; precision = recall = F.
    ours = figures(Chrf(), explained(("ab cd", "ab ce")))
    assert ours["chrf"] == pytest.approx(100 * (3 / 4 + 2 / 3 + 1 / 2 + 0) / 4)


@pytest.mark.parametrize("lowercase", [False, True])
def test_random_corpora_agree_with_sacrebleu(lowercase):
    family, peer = Chrf(lowercase=lowercase), CHRF(lowercase=lowercase)
    stock = [(e.title(), r) for e, r in texts(3, 300)]
    stock += [("a", "abc def"), ("abc def", "a"), ("", "abc"), ("xyz", "abc")]
    rows = family.rows(explained(*stock))
    sentences = [peer.sentence_score(e, [r]).score for e, r in stock]
    rng = numpy.random.default_rng(1)
    draws = [rng.integers(0, len(stock), rng.integers(1, 5)) for _ in range(500)]
    counts = numpy.stack([numpy.bincount(d, minlength=len(stock)) for d in draws])
    ours = family.values(counts @ rows)
    for i, draw in enumerate(draws):
        theirs = peer.corpus_score([stock[j][0] for j in draw], [[stock[j][1] for j in draw]])
        assert ours["chrf"][i] == pytest.approx(theirs.score, abs=1e-9)
        mean = numpy.mean([sentences[j] for j in draw])
        assert ours["sentence_chrf"][i] == pytest.approx(mean, abs=1e-9)


def test_equal_texts_match_wholly_in_any_script():
    for text in ("good screen", "屏幕很亮", "café", "a"):
        ours = figures(Chrf(), explained((text, text)))
        assert ours == pytest.approx({"chrf": 100.0, "sentence_chrf": 100.0})


def test_a_missing_explanation_scores_nothing_and_stays():
    ours = figures(Chrf(), explained(("good screen", "good screen"), (None, "good screen")))
    assert ours["sentence_chrf"] == pytest.approx(50.0)
    # Precision 1, recall 1/2: 5 P R / (4 P + R).
    assert ours["chrf"] == pytest.approx(100 * 5 * 0.5 / 4.5)
    with pytest.raises(Undefined):
        Chrf().rows(explained(("anything", None)))


def test_the_signature_is_that_of_sacrebleu():
    assert "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:" in Chrf().signature
