"""Costs as metrics: medians, recorded predictions, changed fingerprints, sizes and energy."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gen_msa import builtin
from gen_msa.answer_cache import hash_key
from gen_msa.evaluation.cost import (
    BenchmarkResult,
    CostSettings,
    CostTarget,
    EnergyMeter,
    Measurement,
    describe_machine,
    measure_costs,
    model_size_mb,
    peak_memory_mb,
    sample_evenly,
    summarize_cost,
)
from gen_msa.predictors import PredictorSettings, make
from tests.evaluation.phone_examples import example

POSTS = [example(i, "neutral").post for i in range(9)]
FINGERPRINT = {"revision": "1"}


def cost_target(model, **options):
    return CostTarget(model, PredictorSettings(model=model), **options)


def benchmark_result(*measurements, error="", fingerprint=FINGERPRINT):
    return BenchmarkResult(measurements, hash_key(fingerprint), "a machine", error)


def measurement(cpu, wall, joules=None, peak=50.0):
    return Measurement(4, 4, cpu, wall, peak, joules)


def test_cost_metrics_are_medians_with_min_and_max():
    measurements = [measurement(c, w, 8.0, p) for c, w, p in [(1, 2, 50), (2, 4, 60), (9, 40, 55)]]
    cost = summarize_cost(
        benchmark_result(*measurements), cost_target("echo", fingerprint=FINGERPRINT)
    )
    rate, cpu = cost.metrics["posts_per_second"], cost.metrics["cpu_seconds"]
    assert (rate.value, rate.low, rate.high, rate.n) == (1.0, 0.1, 2.0, 4)
    assert (cpu.value, cpu.low, cpu.high) == (500.0, 250.0, 2250.0)
    assert cost.metrics["peak_megabytes"].value == 60
    assert cost.metrics["joules"].value == 2000.0
    assert cost.metrics["megabytes"].value == 0.0
    assert (cost.posts, cost.repeats, cost.machine) == (4, 3, "a machine")
    assert cost.fingerprint_sha256 == hash_key(FINGERPRINT)


def test_energy_is_missing_when_one_measurement_lacks_it():
    energy = summarize_cost(
        benchmark_result(measurement(1, 1, 8.0), measurement(1, 1)), cost_target("echo")
    ).metrics["joules"]
    assert (energy.value, energy.note) == (None, "not measurable here")


def test_cost_of_another_fingerprint_has_no_metrics():
    cost = summarize_cost(
        benchmark_result(measurement(1, 1)), cost_target("echo", fingerprint={"revision": "2"})
    )
    assert cost.metrics == {}
    assert "not the one whose answers were measured" in cost.note


def test_failed_benchmark_reports_its_error():
    cost = summarize_cost(
        benchmark_result(measurement(1, 1), error="ValueError: cold"),
        cost_target("echo", fingerprint=FINGERPRINT),
    )
    assert (cost.metrics, cost.note) == ({}, "failed: ValueError: cold")


def test_out_of_process_model_has_no_cpu_time():
    cost_metrics = summarize_cost(
        benchmark_result(measurement(1, 2)), cost_target("http:http://127.0.0.1:9/v1#m")
    ).metrics
    assert cost_metrics["posts_per_second"].value == 2.0
    for name in ("cpu_seconds", "peak_megabytes"):
        assert cost_metrics[name].value is None
        assert "its server" in cost_metrics[name].note
    assert cost_metrics["megabytes"].note == "unknown"


def test_measure_costs_covers_recorded_and_failing_models(tmp_path):
    fingerprint = make(PredictorSettings(model="echo"), tmp_path).fingerprint()
    targets = [
        cost_target("echo", fingerprint=fingerprint),
        cost_target("majority:posts.jsonl"),
        cost_target("recorded:x.jsonl"),
        cost_target("student:nowhere"),
    ]
    benchmarks = measure_costs(CostSettings(posts=3), targets, POSTS, tmp_path)
    assert list(benchmarks) == [a.name for a in targets]
    assert (benchmarks["echo"].posts, benchmarks["echo"].repeats) == (3, 5)
    assert benchmarks["echo"].metrics["posts_per_second"].value > 0
    assert benchmarks["echo"].fingerprint_sha256 == hash_key(fingerprint)
    assert "1 thread of" in benchmarks["echo"].machine
    assert {benchmarks[a.name].note for a in targets[1:3]} == {
        "recorded answers: no cost of their own"
    }
    assert "failed: no folder 'nowhere'" in benchmarks["student:nowhere"].note


def test_cost_settings_reject_fewer_than_five_repeats():
    with pytest.raises(ValidationError):
        CostSettings(posts=1, repeats=4)


@given(st.integers(0, 60), st.integers(0, 80))
def test_sample_evenly_spans_all_rows(limit, rows):
    sampled = sample_evenly(range(rows), limit)
    assert len(sampled) == min(limit, rows) == len(set(sampled))
    gaps = [b - a for a, b in itertools.pairwise(sampled)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def write_powercap_zone(
    root: Path, number: int, name: str, energy_uj: int, max_range_uj: int = 1000
) -> None:
    folder = root / f"intel-rapl:{number}"
    folder.mkdir()
    for file, content in (
        ("name", name),
        ("energy_uj", energy_uj),
        ("max_energy_range_uj", max_range_uj),
    ):
        (folder / file).write_text(f"{content}\n")


def test_energy_meter_sums_packages_and_handles_counter_wrap(tmp_path):
    write_powercap_zone(tmp_path, 0, "package-0", 900)
    write_powercap_zone(tmp_path, 1, "package-1", 10)
    write_powercap_zone(tmp_path, 2, "psys", 5)
    meter = EnergyMeter.open(tmp_path)
    before = meter.read()
    assert before == (900, 10)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("99\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("30\n")
    assert meter.joules(before, meter.read()) == pytest.approx((200 + 20) / 1e6)


def test_energy_is_none_when_a_counter_is_unreadable(tmp_path):
    write_powercap_zone(tmp_path, 0, "package-0", 900)
    write_powercap_zone(tmp_path, 1, "package-1", 900)
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    for root in (tmp_path, tmp_path / "nowhere"):
        meter = EnergyMeter.open(root)
        assert meter.joules(meter.read(), meter.read()) is None


def test_model_size_counts_only_loaded_files(tmp_path):
    student = tmp_path / "s"
    (student / "checkpoints").mkdir(parents=True)
    for name, size in (("model.safetensors", 3_000_000), ("notes.md", 500), ("old.bin", 900)):
        (student / name).write_bytes(bytes(size))
    (student / "checkpoints" / "model.safetensors").write_bytes(bytes(700))
    config_json = '{"width": {"text": 9}}'
    (student / "student.json").write_text(config_json)
    assert model_size_mb(f"student:{student}") == (3_000_000 + len(config_json)) / 1e6
    assert model_size_mb("echo") == 0.0
    assert model_size_mb("http:http://127.0.0.1:9/v1#m") is None


@pytest.mark.models
def test_builtin_size_is_weights_plus_adapter():
    weights = sum(p.stat().st_size for p in builtin.weights_files()) / 1e6
    assert weights < model_size_mb("builtin") < weights + 200


def test_describe_machine_names_the_package():
    assert "gen_msa" in describe_machine()
    assert peak_memory_mb() > 10
