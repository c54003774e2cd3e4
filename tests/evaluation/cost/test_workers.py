"""Benchmarks: single-threaded processes predict in turn, and one failure stops no other task.

No test compares times with a clock: the predictors use a given amount of CPU time.
"""

import itertools
from collections import Counter
from functools import partial

import pytest

from gen_msa.answer_cache import hash_key
from gen_msa.evaluation import cost
from gen_msa.evaluation.cost import BenchmarkTask, benchmark
from tests.evaluation.cost.fake_predictors import CountingPredictor, FailingPredictor, fail_to_build
from tests.evaluation.phone_examples import example

POSTS = [example(i, "neutral").post for i in range(4)]


def read_log(log):
    return [line.split() for line in log.read_text("utf-8").splitlines()]


def test_benchmark_repeats_all_posts_after_one_warm_up(tmp_path):
    log = tmp_path / "log"
    tasks = [BenchmarkTask(n, partial(CountingPredictor, log), POSTS, chunk=3) for n in "ab"]
    results = benchmark(tasks, 5)
    calls = read_log(log)
    per_process = Counter((pid, post) for pid, post, *_ in calls)
    assert len({pid for pid, *_ in calls}) == 2
    assert set(per_process.values()) == {6}
    assert [len(r.measurements) for r in results.values()] == [5, 5]
    assert {
        (measurement.n_posts, measurement.n_opinions)
        for r in results.values()
        for measurement in r.measurements
    } == {(4, 4)}
    assert {size for _, _, size, _ in calls} == {"3", "1"}
    assert {threads for *_, threads in calls} == {"1"}


@pytest.mark.parametrize(("interleaved", "changes"), [(True, 11), (False, 1)])
def test_benchmark_interleaves_models_or_runs_them_in_turn(tmp_path, interleaved, changes):
    log = tmp_path / "log"
    benchmark(
        [BenchmarkTask(n, partial(CountingPredictor, log), POSTS) for n in "ab"],
        5,
        interleaved=interleaved,
    )
    pids = [pid for pid, *_ in read_log(log)]
    assert sum(a != b for a, b in itertools.pairwise(pids)) == changes


def test_measured_cpu_time_scales_with_work(tmp_path):
    log = tmp_path / "log"
    times = {"fast": 0.005, "slow": 0.05}
    results = benchmark(
        [BenchmarkTask(n, partial(CountingPredictor, log, s), POSTS) for n, s in times.items()], 5
    )
    fast, slow = (
        min(measurement.cpu_seconds for measurement in results[n].measurements) for n in times
    )
    assert fast >= 4 * times["fast"]
    assert slow >= 4 * times["slow"]
    assert 5 < slow / fast < 15
    assert all(measurement.peak_mb > 10 for r in results.values() for measurement in r.measurements)
    assert (
        results["slow"].fingerprint_sha256
        == hash_key({"seconds": 0.05})
        != results["fast"].fingerprint_sha256
    )


def test_benchmark_records_failures_and_continues(tmp_path):
    log = tmp_path / "log"
    tasks = [
        BenchmarkTask("refused", partial(fail_to_build, log), POSTS),
        BenchmarkTask("warming", partial(FailingPredictor, log, 0), POSTS),
        BenchmarkTask("later", partial(FailingPredictor, log, 3), POSTS),
        BenchmarkTask("gone", partial(FailingPredictor, log, 2, dies=True), POSTS),
        BenchmarkTask("well", partial(CountingPredictor, log), POSTS),
    ]
    results = benchmark(tasks, 5)
    assert "no weights beside log" in results["refused"].error
    assert "hint: cook them" in results["refused"].error
    assert results["warming"].error == results["later"].error == "ValueError: the soup is cold"
    assert results["gone"].error == "its process ended with exit code 7"
    assert not results["well"].error
    assert len(results["well"].measurements) == 5


@pytest.mark.models
def test_each_measurement_recomputes_image_features(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed")
    from gen_msa.encoders.vision.base import EFFICIENTNET_LITE0
    from gen_msa.models.inputs.modalities import load_modalities, packaged_extractor
    from tests.builtin.builders import random_image

    if EFFICIENTNET_LITE0.path() is None:
        pytest.skip("the weights of EfficientNet-Lite0 are not installed")

    monkeypatch.setenv("GEN_MSA_CACHE", str(tmp_path / "cache"))
    random_image().save(tmp_path / "a.png")
    post = example(0, "neutral", image="a.png").post
    load_modalities([post], tmp_path, ["image"])
    extractor = packaged_extractor(tmp_path / "cache")
    for repeat in range(3):
        cost._isolate_feature_cache(tmp_path / str(repeat))
        load_modalities([post], tmp_path, ["image"])
    assert extractor.computed == 4
    load_modalities([post], tmp_path, ["image"])
    assert extractor.computed == 4
