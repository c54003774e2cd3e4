"""Costs as figures: medians, recorded readers, other readers' costs, sizes and energy."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gen_msa import builtin
from gen_msa.evaluating.costing import Asked, CostSettings, Lap, Ran, costs, spread
from gen_msa.evaluating.costing.machine import Meter, machine, peak_megabytes
from gen_msa.evaluating.costing.measuring import costing
from gen_msa.evaluating.costing.shipping import megabytes
from gen_msa.ledger import key
from gen_msa.readers import ReaderSettings, make
from tests.evaluating.phones import example

POSTS = [example(i, "neutral").post for i in range(9)]
FACTS = {"revision": "1"}


def asked(reader, **more):
    return Asked(reader, ReaderSettings(reader=reader), **more)


def ran(*laps, error="", facts=FACTS):
    return Ran(laps, key(facts), "a machine", error)


def lap(cpu, wall, joules=None, peak=50.0):
    return Lap(4, 4, cpu, wall, peak, joules)


def test_figures_are_medians_with_the_least_and_the_most_lap():
    laps = [lap(c, w, 8.0, p) for c, w, p in [(1, 2, 50), (2, 4, 60), (9, 40, 55)]]
    found = costing(ran(*laps), asked("echo", facts=FACTS))
    rate, cpu = found.figures["posts_per_second"], found.figures["cpu_seconds"]
    assert (rate.value, rate.low, rate.high, rate.n) == (1.0, 0.1, 2.0, 4)
    assert (cpu.value, cpu.low, cpu.high) == (500.0, 250.0, 2250.0)
    assert found.figures["peak_megabytes"].value == 60
    assert found.figures["joules"].value == 2000.0
    assert found.figures["megabytes"].value == 0.0
    assert (found.posts, found.laps, found.machine) == (4, 3, "a machine")
    assert found.reader_sha256 == key(FACTS)


def test_energy_that_is_not_told_is_not_guessed():
    found = costing(ran(lap(1, 1, 8.0), lap(1, 1)), asked("echo")).figures["joules"]
    assert (found.value, found.note) == (None, "not measurable here")


def test_the_cost_of_another_reader_stands_beside_no_figure():
    found = costing(ran(lap(1, 1)), asked("echo", facts={"revision": "2"}))
    assert found.figures == {}
    assert "not the one whose answers were measured" in found.note


def test_a_failure_is_told_with_its_error():
    found = costing(ran(lap(1, 1), error="ValueError: cold"), asked("echo", facts=FACTS))
    assert (found.figures, found.note) == ({}, "failed: ValueError: cold")


def test_what_works_elsewhere_has_no_cpu_time_of_its_own():
    found = costing(ran(lap(1, 2)), asked("http:http://127.0.0.1:9/v1#m")).figures
    assert found["posts_per_second"].value == 2.0
    for name in ("cpu_seconds", "peak_megabytes"):
        assert found[name].value is None
        assert "its server" in found[name].note
    assert found["megabytes"].note == "not known"


def test_costs_of_all_readers_recorded_ones_and_failing_ones_among_them(tmp_path):
    known = make(ReaderSettings(reader="echo"), tmp_path).fingerprint()
    readers = [
        asked("echo", facts=known),
        asked("majority:posts.jsonl"),
        asked("file:x.jsonl"),
        asked("student:nowhere"),
    ]
    found = costs(CostSettings(posts=3), readers, POSTS, tmp_path)
    assert list(found) == [a.name for a in readers]
    assert (found["echo"].posts, found["echo"].laps) == (3, 5)
    assert found["echo"].figures["posts_per_second"].value > 0
    assert found["echo"].reader_sha256 == key(known)
    assert "1 thread of" in found["echo"].machine
    assert {found[a.name].note for a in readers[1:3]} == {"recorded: no cost of its own"}
    assert "failed: no folder 'nowhere'" in found["student:nowhere"].note


def test_fewer_than_five_laps_are_refused():
    with pytest.raises(ValidationError):
        CostSettings(posts=1, laps=4)


@given(st.integers(0, 60), st.integers(0, 80))
def test_posts_are_spread_over_the_whole_data(most, rows):
    found = spread(range(rows), most)
    assert len(found) == min(most, rows) == len(set(found))
    gaps = [b - a for a, b in itertools.pairwise(found)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def zone(root: Path, number: int, name: str, now: int, end: int = 1000) -> None:
    folder = root / f"intel-rapl:{number}"
    folder.mkdir()
    for file, said in (("name", name), ("energy_uj", now), ("max_energy_range_uj", end)):
        (folder / file).write_text(f"{said}\n")


def test_energy_is_that_of_all_packages_and_counters_may_begin_again(tmp_path):
    zone(tmp_path, 0, "package-0", 900)
    zone(tmp_path, 1, "package-1", 10)
    zone(tmp_path, 2, "psys", 5)
    meter = Meter.open(tmp_path)
    before = meter.read()
    assert before == (900, 10)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("99\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("30\n")
    assert meter.joules(before, meter.read()) == pytest.approx((200 + 20) / 1e6)


def test_a_counter_that_cannot_be_read_means_no_energy(tmp_path):
    zone(tmp_path, 0, "package-0", 900)
    zone(tmp_path, 1, "package-1", 900)
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    for root in (tmp_path, tmp_path / "nowhere"):
        meter = Meter.open(root)
        assert meter.joules(meter.read(), meter.read()) is None


def test_the_size_is_that_of_files_that_are_read(tmp_path):
    student = tmp_path / "s"
    (student / "checkpoints").mkdir(parents=True)
    for name, size in (("model.safetensors", 3_000_000), ("notes.md", 500), ("old.bin", 900)):
        (student / name).write_bytes(bytes(size))
    (student / "checkpoints" / "model.safetensors").write_bytes(bytes(700))
    facts = '{"width": {"text": 9}}'
    (student / "student.json").write_text(facts)
    assert megabytes(f"student:{student}") == (3_000_000 + len(facts)) / 1e6
    assert megabytes("echo") == 0.0
    assert megabytes("http:http://127.0.0.1:9/v1#m") is None


@pytest.mark.models
def test_the_builtin_reader_is_its_weights_and_its_adapter():
    weights = sum(p.stat().st_size for p in builtin.weights_files()) / 1e6
    assert weights < megabytes("builtin") < weights + 200


def test_the_machine_says_what_it_is():
    assert "gen_msa" in machine()
    assert peak_megabytes() > 10
