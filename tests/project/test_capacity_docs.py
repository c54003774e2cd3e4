"""The tables of docs/capacity.md multiply the measured rates; measuring works."""

import re
from pathlib import Path

import pytest

import gen_msa as package
from tests.fixtures.benchmarks import BENCH, load_benchmark

ROOT = Path(package.__file__).parent.parent
PAGE = (ROOT / "docs" / "capacity.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def capacity():
    return load_benchmark("capacity")


def test_tables_match_the_computation(capacity):
    assert capacity.model_table(capacity.load_rates(), 0.05) in PAGE
    assert capacity.overhead_table(capacity.load_rates()) in PAGE


def test_numbers_in_the_text_match_the_computation(capacity):
    rates = capacity.load_rates()
    student, _, student_explained, _, builtin = rates.models.values()
    assert f"{student_explained / student:.0f} times as long" in PAGE
    assert f"{round(1 / rates.overhead, -3):,.0f} posts/s" in PAGE
    assert f"{round(1 / rates.ray_driver, -2):,.0f} posts/s" in PAGE
    day = 5e8 / capacity.HOUR
    assert f"{round(day * student, -1):.0f} core-hours, so {day * student / 24:.0f} cores" in PAGE
    assert f"{round(day * builtin, -3):,.0f} core-hours" in PAGE


def test_time_and_cost_are_proportional_to_posts(capacity):
    rows = [
        re.findall(r"[\d,.]+", line)
        for line in capacity.custom_rate_table(40.0, 2.5).splitlines()[2:]
    ]
    hours = [float(r[-2].replace(",", "")) for r in rows]
    costs = [float(r[-1].replace(",", "")) for r in rows]
    assert hours[1] / hours[0] == pytest.approx(100)
    assert hours[0] == pytest.approx(1e6 / 40 / 3600, rel=0.02)
    assert costs[2] == pytest.approx(hours[2] * 2.5, rel=0.05)


def test_pipeline_without_a_model_can_be_measured(capacity, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    measured = capacity.measure("echo", capacity.BASELINE[1:], (64, 320), 1)
    assert measured["posts_bytes"] > 100
    assert measured["out_bytes"] > measured["posts_bytes"]
    assert measured["cache_bytes"] > 100
    assert {"seconds", "skip", "merge"} <= measured.keys()
