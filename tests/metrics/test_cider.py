"""Test CIDEr-D against hand-made cases and an independent implementation of its formula."""

from collections import Counter
from math import e, exp, log, sqrt

import pytest

from gen_msa.metrics import UndefinedMetric, metrics
from gen_msa.metrics._reference_based import tokenize
from tests.metrics.opinion_pairs import compute_metrics, explanation_pairs, random_text_pairs

Cider = metrics["cider"]


def reference_cider(text_pairs):
    """CIDEr-D of each (explanation, reference), vector by vector over the whole vocabulary."""
    tokens = [(tokenize(a, "en"), tokenize(b, "en")) for a, b in text_pairs]
    scores = [0.0] * len(text_pairs)
    for n in range(1, 5):
        ngram_counts = [
            [Counter(w[i : i + n] for i in range(len(w) - n + 1)) for w in p] for p in tokens
        ]
        vocabulary = sorted({g for p in ngram_counts for c in p for g in c})
        frequency = {g: sum(g in gold for _, gold in ngram_counts) for g in vocabulary}
        idf = {g: log(len(text_pairs) / max(1, frequency[g])) for g in vocabulary}
        for i, pair in enumerate(ngram_counts):
            ngrams = sorted({*pair[0], *pair[1]})
            a, b = ([c[g] * idf[g] for g in ngrams] for c in pair)
            size = sqrt(sum(x * x for x in a)) * sqrt(sum(x * x for x in b))
            dot = sum(min(x, y) * y for x, y in zip(a, b, strict=True))
            delta = len(tokens[i][0]) - len(tokens[i][1])
            scores[i] += 10 / 4 * e ** (-(delta**2) / 72) * (dot / size if size else 0.0)
    return scores


def test_cider_by_hand():
    # Two references without a common word: each of their n-grams has the weight log 2, as has x.
    scores = Cider().row_statistics(explanation_pairs(("a b", "a b"), ("c x x", "c d")))[:, 1]
    # First: n = 1 and 2 match, 3 and 4 have no n-gram. Second: 1 of (1, 2)·(1, 1), length.
    assert scores[0] == pytest.approx(10 * 2 / 4)
    assert scores[1] == pytest.approx(10 / 4 * 1 / (sqrt(5) * sqrt(2)) * exp(-1 / 72))


def test_cider_matches_reference():
    for seed in range(20):
        text_pairs = random_text_pairs(seed, 50)
        scores = Cider().row_statistics(explanation_pairs(*text_pairs))[:, 1]
        assert scores.tolist() == pytest.approx(reference_cider(text_pairs), abs=1e-9)


def test_cider_counts_repeated_references_per_row():
    text_pairs = [("a b c d", "a b c d"), ("x y z", "a b c d"), ("e f g h", "e f g h")]
    scores = Cider().row_statistics(explanation_pairs(*text_pairs))[:, 1]
    assert scores.tolist() == pytest.approx(reference_cider(text_pairs))


def test_cider_weights_depend_on_evaluated_rows():
    text_pairs = random_text_pairs(1, 40)
    full_scores = Cider().row_statistics(explanation_pairs(*text_pairs))[:5, 1]
    part_scores = Cider().row_statistics(explanation_pairs(*text_pairs[:5]))[:, 1]
    assert abs(full_scores - part_scores).max() > 0.01
    assert "evaluated rows" in Cider().signature


def test_cider_of_missing_explanation_is_zero():
    text_pairs = [("a b", "a b"), (None, "c d"), ("e f", "e f"), ("g", None)]
    assert compute_metrics(Cider(), explanation_pairs(*text_pairs))["cider_d"] == pytest.approx(
        5 * 2 / 3
    )


def test_cider_needs_two_references():
    with pytest.raises(UndefinedMetric, match="at least two references"):
        Cider().row_statistics(explanation_pairs(("a", "a"), ("b", None)))
    with pytest.raises(UndefinedMetric, match="no reference opinion"):
        Cider().row_statistics(explanation_pairs(("a", None)))
