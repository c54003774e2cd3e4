"""Test length, diversity and repetition of explanations: a hand-made case and the edges."""

from math import isnan, sqrt

import pytest

from gen_msa.metrics import UndefinedMetric, metrics
from gen_msa.metrics._pairs import shuffle_explanations
from tests.metrics.explanation_pairs import pair, pair_without_prediction, tiny_pairs

TEXT = "Screen is great but the battery dies"


def measure(pairs):
    family = metrics["text_stats"]()
    values = family.measure(pairs)
    assert list(values) == [f.name for f in family.specs]
    return values


def test_text_stats_by_hand():
    values = measure(
        [
            pair(TEXT, "Screen", 'The screen is positive: "is great".'),  # 6 words
            pair(TEXT, "battery", 'The battery is negative: "dies".'),  # 5 words
            pair(TEXT, "battery", "It dies", provenance={"explanation": "cut"}),
            pair(TEXT, "battery", "it DIES!"),
            pair(TEXT, "battery", None),
            pair_without_prediction(),
        ]
    )
    tokens = ["the", "screen", "is", "positive", "is", "great", "the", "battery", "is", "negative"]
    tokens += ["dies", "it", "dies", "it", "dies"]
    assert values["length"] == len(tokens) / 4
    assert values["length_sd"] == pytest.approx(sqrt(((6 - 3.75) ** 2 + 1.25**2 + 2 * 1.75**2) / 3))
    assert values["empty"] == pytest.approx(1 / 5)
    assert values["truncated"] == 1 / 4
    assert values["distinct_1"] == len(set(tokens)) / len(tokens)
    # 5 + 4 + 1 + 1 pairs; `it dies` comes twice, all others once.
    assert values["distinct_2"] == 10 / 11
    assert values["duplicate"] == 2 / 4
    assert values["template"] == 2 / 4


def test_template_ignores_aspects_labels_and_quotes():
    pairs = [
        pair(f"my {t} is {w}", t, f'The {t} is judged {p}: "{w}".', post=t)
        for t, w, p in [("cat", "fat", "negative"), ("hat shop", "fun", "positive")]
    ]
    assert measure(pairs)["template"] == 1
    assert measure([*pairs, pair("x y", "x", "Something else altogether.")])["template"] == 2 / 3


def test_text_stats_without_explanations_count_only_empty_ones():
    values = measure([pair(TEXT, "Screen", " ")])
    assert values.pop("empty") == 1
    assert all(isnan(v) for v in values.values())
    with pytest.raises(UndefinedMetric, match="there are no predictions"):
        measure([pair_without_prediction()])


def test_length_sd_of_one_explanation_is_nan():
    values = measure([pair(TEXT, "Screen", "Great")])
    assert isnan(values["length_sd"])
    assert isnan(values["distinct_2"])
    assert values["distinct_1"] == 1


def test_shuffling_keeps_corpus_level_text_stats():
    pairs = tiny_pairs()
    before, after = measure(pairs), measure(shuffle_explanations(pairs, 0))
    del before["template"], after["template"]  # templates depend on the aspect of their row
    assert before == pytest.approx(after)
