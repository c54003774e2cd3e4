"""Test quote fidelity: hand-made cases, and shuffled explanations."""

from math import isnan

import pytest

from gen_msa.metrics import UndefinedMetric, metrics
from gen_msa.metrics._pairs import shuffle_explanations
from tests.metrics.explanation_pairs import (
    compute_metrics,
    pair,
    pair_without_prediction,
    tiny_pairs,
)

TEXT = "Screen is great but the battery dies at noon"


def test_quote_fidelity_by_hand():
    rows = [
        pair(TEXT, "battery", 'It "dies at noon." and is "weak".'),
        pair(TEXT, "battery", 'The "battery" DIES.'),
        pair(TEXT, "Screen", "It “IS GREAT”, 'die' is no word of it."),
        pair(TEXT, "Screen", ""),
        pair_without_prediction(),
    ]
    # 4 quotes, of which `dies at noon.` and `IS GREAT` occur; the aspect's term is no quote.
    assert compute_metrics("quote_fidelity", rows) == {
        "verbatim": 2 / 4,
        "quote_rate": pytest.approx(2 / 3),
        "quotes": pytest.approx(4 / 3),
    }


def test_quote_fidelity_is_nan_without_quotes():
    values = compute_metrics("quote_fidelity", [pair(TEXT, "battery", "It dies.")])
    assert isnan(values["verbatim"])
    assert values["quote_rate"] == values["quotes"] == 0


def test_quote_fidelity_across_scripts():
    rows = [
        pair("这个电池很糟糕", "电池", "写着“很糟糕”"),
        pair("Die Straße", "x", '"die STRASSE"'),
    ]
    assert compute_metrics("quote_fidelity", rows)["verbatim"] == 1


def test_shuffled_explanations_lose_quote_fidelity():
    pairs = tiny_pairs()
    assert compute_metrics("quote_fidelity", pairs)["verbatim"] > 0.95
    shuffled = compute_metrics("quote_fidelity", shuffle_explanations(pairs, 0))
    assert shuffled["verbatim"] < 0.05
    assert shuffled["quote_rate"] == compute_metrics("quote_fidelity", pairs)["quote_rate"]


def test_quote_fidelity_is_undefined_without_explanations():
    with pytest.raises(UndefinedMetric, match="no row"):
        metrics["quote_fidelity"]().row_statistics([pair_without_prediction()])
