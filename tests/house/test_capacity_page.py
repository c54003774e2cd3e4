"""The tables of docs/capacity.md are what was measured, multiplied; measuring works."""

import re
from pathlib import Path

import pytest

import gen_msa as package
from tests.fixtures.benches import BENCH, bench

ROOT = Path(package.__file__).parent.parent
PAGE = (ROOT / "docs" / "capacity.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def capacity():
    return bench("capacity")


def test_its_tables_are_what_is_computed(capacity):
    assert capacity.by_reader(capacity.known(), 0.05) in PAGE
    assert capacity.house(capacity.known()) in PAGE


def test_what_is_said_between_them_follows_from_them(capacity):
    rates = capacity.known()
    alone, _, reasons, _, builtin = rates.readers.values()
    assert f"{reasons / alone:.0f} times as long" in PAGE
    assert f"{round(1 / rates.house, -3):,.0f} posts/s" in PAGE
    assert f"{round(1 / rates.ray_driver, -2):,.0f} posts/s" in PAGE
    day = 5e8 / capacity.HOUR
    assert f"{round(day * alone, -1):.0f} core-hours, so {day * alone / 24:.0f} cores" in PAGE
    assert f"{round(day * builtin, -3):,.0f} core-hours" in PAGE


def test_twice_the_posts_take_twice_the_time_and_money(capacity):
    rows = [re.findall(r"[\d,.]+", line) for line in capacity.own(40.0, 2.5).splitlines()[2:]]
    hours = [float(r[-2].replace(",", "")) for r in rows]
    money = [float(r[-1].replace(",", "")) for r in rows]
    assert hours[1] / hours[0] == pytest.approx(100)
    assert hours[0] == pytest.approx(1e6 / 40 / 3600, rel=0.02)
    assert money[2] == pytest.approx(hours[2] * 2.5, rel=0.05)


def test_a_house_without_a_model_can_be_measured(capacity, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    told = capacity.measure("echo", capacity.HOUSE[1:], (64, 320), 1)
    assert told["posts_bytes"] > 100
    assert told["out_bytes"] > told["posts_bytes"]
    assert told["ledger_bytes"] > 100
    assert {"seconds", "pass_by", "merge"} <= told.keys()
