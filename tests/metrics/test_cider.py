"""CIDEr-D: by hand, and equal to the published formula written down once more."""

from collections import Counter
from math import e, exp, log, sqrt

import pytest

from gen_msa.metrics import Undefined, metrics
from gen_msa.metrics._words import words
from tests.metrics.saying import explained, figures, texts

Cider = metrics["cider"]


def formula(stock):
    """CIDEr-D of each (explanation, reference), vector by vector over the whole vocabulary."""
    cut = [(words(a, "en"), words(b, "en")) for a, b in stock]
    scores = [0.0] * len(stock)
    for n in range(1, 5):
        grams = [[Counter(w[i : i + n] for i in range(len(w) - n + 1)) for w in p] for p in cut]
        vocabulary = sorted({g for p in grams for c in p for g in c})
        frequency = {g: sum(g in gold for _, gold in grams) for g in vocabulary}
        idf = {g: log(len(stock) / max(1, frequency[g])) for g in vocabulary}
        for i, pair in enumerate(grams):
            both = sorted({*pair[0], *pair[1]})
            a, b = ([c[g] * idf[g] for g in both] for c in pair)
            size = sqrt(sum(x * x for x in a)) * sqrt(sum(x * x for x in b))
            dot = sum(min(x, y) * y for x, y in zip(a, b, strict=True))
            delta = len(cut[i][0]) - len(cut[i][1])
            scores[i] += 10 / 4 * e ** (-(delta**2) / 72) * (dot / size if size else 0.0)
    return scores


def test_a_case_computed_by_hand():
    # Two references without a word in common: each n-gram of them weighs log 2, and so does x.
    ours = Cider().rows(explained(("a b", "a b"), ("c x x", "c d")))[:, 1]
    # First: n = 1 and 2 match wholly, 3 and 4 have no n-gram. Second: 1 of (1, 2)·(1, 1), length.
    assert ours[0] == pytest.approx(10 * 2 / 4)
    assert ours[1] == pytest.approx(10 / 4 * 1 / (sqrt(5) * sqrt(2)) * exp(-1 / 72))


def test_a_thousand_random_pairs_agree_with_the_formula():
    for seed in range(20):
        stock = texts(seed, 50)
        ours = Cider().rows(explained(*stock))[:, 1]
        assert ours.tolist() == pytest.approx(formula(stock), abs=1e-9)


def test_weights_count_every_row_of_a_repeated_reference():
    stock = [("a b c d", "a b c d"), ("x y z", "a b c d"), ("e f g h", "e f g h")]
    ours = Cider().rows(explained(*stock))[:, 1]
    assert ours.tolist() == pytest.approx(formula(stock))


def test_a_part_measured_by_itself_has_other_weights():
    stock = texts(1, 40)
    whole = Cider().rows(explained(*stock))[:5, 1]
    part = Cider().rows(explained(*stock[:5]))[:, 1]
    assert abs(whole - part).max() > 0.01
    assert "evaluated rows" in Cider().signature


def test_a_missing_explanation_scores_nothing_and_stays():
    stock = [("a b", "a b"), (None, "c d"), ("e f", "e f"), ("g", None)]
    assert figures(Cider(), explained(*stock))["cider_d"] == pytest.approx(5 * 2 / 3)


def test_one_reference_has_no_rare_words():
    with pytest.raises(Undefined, match="at least two references"):
        Cider().rows(explained(("a", "a"), ("b", None)))
    with pytest.raises(Undefined, match="no gold opinion"):
        Cider().rows(explained(("a", None)))
