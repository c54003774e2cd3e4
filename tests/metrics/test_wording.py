"""Length, variety and repetition of explanations: a case by hand and the edges."""

from math import isnan, sqrt

import pytest

from gen_msa.metrics import Undefined, metrics
from gen_msa.metrics._permuting import permuted
from tests.metrics.explaining import pair, shipped, silent

TEXT = "Screen is great but the battery dies"


def measured(pairs):
    family = metrics["wording"]()
    found = family.measure(pairs)
    assert list(found) == [f.name for f in family.figures]
    return found


def test_a_case_by_hand():
    found = measured(
        [
            pair(TEXT, "Screen", 'The screen is positive: "is great".'),  # 6 words
            pair(TEXT, "battery", 'The battery is negative: "dies".'),  # 5 words
            pair(TEXT, "battery", "It dies", how={"explanation": "cut"}),
            pair(TEXT, "battery", "it DIES!"),
            pair(TEXT, "battery", None),
            silent(),
        ]
    )
    words = ["the", "screen", "is", "positive", "is", "great", "the", "battery", "is", "negative"]
    words += ["dies", "it", "dies", "it", "dies"]
    assert found["length"] == len(words) / 4
    assert found["length_sd"] == pytest.approx(sqrt(((6 - 3.75) ** 2 + 1.25**2 + 2 * 1.75**2) / 3))
    assert found["empty"] == pytest.approx(1 / 5)
    assert found["cut"] == 1 / 4
    assert found["distinct_1"] == len(set(words)) / len(words)
    # 5 + 4 + 1 + 1 pairs; `it dies` comes twice, all others once.
    assert found["distinct_2"] == 10 / 11
    assert found["duplicate"] == 2 / 4
    assert found["template"] == 2 / 4


def test_one_form_with_other_aspects_labels_and_quotes_is_one_template():
    said = [
        pair(f"my {t} is {w}", t, f'The {t} is judged {p}: "{w}".', post=t)
        for t, w, p in [("cat", "fat", "negative"), ("hat shop", "fun", "positive")]
    ]
    assert measured(said)["template"] == 1
    assert measured([*said, pair("x y", "x", "Something else altogether.")])["template"] == 2 / 3


def test_without_any_explanation_only_the_empty_ones_are_counted():
    found = measured([pair(TEXT, "Screen", " ")])
    assert found.pop("empty") == 1
    assert all(isnan(v) for v in found.values())
    with pytest.raises(Undefined, match="said nothing"):
        measured([silent()])


def test_one_explanation_has_no_spread():
    found = measured([pair(TEXT, "Screen", "Great")])
    assert isnan(found["length_sd"])
    assert isnan(found["distinct_2"])
    assert found["distinct_1"] == 1


def test_shuffling_changes_nothing_that_is_about_the_set_alone():
    pairs = shipped()
    before, after = measured(pairs), measured(permuted(pairs, 0))
    del before["template"], after["template"]  # aspects are taken out by their row
    assert before == pytest.approx(after)
