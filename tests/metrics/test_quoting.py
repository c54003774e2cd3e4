"""Quotes and the post's own words: cases by hand, and shuffled explanations."""

from math import isnan

import pytest

from gen_msa.metrics import Undefined, metrics
from gen_msa.metrics._permuting import permuted
from tests.metrics.explaining import figures, pair, shipped, silent

TEXT = "Screen is great but the battery dies at noon"


def test_a_case_by_hand():
    rows = [
        pair(TEXT, "battery", 'It "dies at noon." and is "weak".'),
        pair(TEXT, "battery", 'The "battery" DIES.'),
        pair(TEXT, "Screen", "It “IS GREAT”, 'die' is no word of it."),
        pair(TEXT, "Screen", ""),
        silent(),
    ]
    # 4 quotes, of which `dies at noon.` and `IS GREAT` stand there; the aspect's name is none.
    assert figures("quoting", rows) == {
        "verbatim": 2 / 4,
        "quoting": pytest.approx(2 / 3),
        "quotes": pytest.approx(4 / 3),
    }


def test_without_a_quote_nothing_is_verbatim_or_not():
    found = figures("quoting", [pair(TEXT, "battery", "It dies.")])
    assert isnan(found["verbatim"])
    assert found["quoting"] == found["quotes"] == 0


def test_a_quote_across_letters_and_scripts():
    rows = [
        pair("这个电池很糟糕", "电池", "写着“很糟糕”"),
        pair("Die Straße", "x", '"die STRASSE"'),
    ]
    assert figures("quoting", rows)["verbatim"] == 1


def test_shuffled_explanations_quote_what_is_not_there():
    pairs = shipped()
    assert figures("quoting", pairs)["verbatim"] > 0.95
    shuffled = figures("quoting", permuted(pairs, 0))
    assert shuffled["verbatim"] < 0.05
    assert shuffled["quoting"] == figures("quoting", pairs)["quoting"]


def test_no_explanation_at_all_is_said():
    with pytest.raises(Undefined, match="no row"):
        metrics["quoting"]().rows([silent()])
