"""SIGKILL in shards, then another number of shards: the bytes of one undisturbed job.

GEN_MSA_KILLS sets the number of kills per number of shards (3).
"""

import multiprocessing
import os
import random
import signal
import time

import pytest

from gen_msa.annotation import (
    JobSettings,
    Shard,
    annotate,
    annotate_shard,
    make_job_teacher,
    merge_shards,
)
from gen_msa.answer_cache import merge_caches
from gen_msa.data import open_examples
from tests.annotation.test_kill import count_cached
from tests.fixtures.posts import post, write_posts

KILLS = int(os.environ.get("GEN_MSA_KILLS", "3"))
POSTS = 600
ECHO = JobSettings(model="echo", chunk=4, cues={})


@pytest.fixture
def start_shard(tmp_path):
    """Return a function that runs a shard in a forked process."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork on this system")
    source = open_examples(str(write_posts(tmp_path / "posts.jsonl", map(post, range(POSTS)))))
    teacher = make_job_teacher(source, ECHO)

    def start(shard, out, reuse_cache):
        shard_path, cache_path = shard.path_beside(out, ".part"), shard.path_beside(out, ".cache")
        kwargs = {"cache_path": cache_path, "reuse_cache": reuse_cache, "teacher": teacher}
        process = multiprocessing.get_context("fork").Process(
            target=annotate_shard, args=(source, shard_path, shard, ECHO), kwargs=kwargs
        )
        process.start()
        return process, shard_path, cache_path

    annotate(source, tmp_path / "undisturbed.jsonl", ECHO, teacher=teacher)
    return start


@pytest.mark.parametrize("n_shards", [1, 2, 3, 4])
def test_output_is_unchanged_by_kills_and_resharding(tmp_path, start_shard, n_shards):
    rng = random.Random(n_shards)
    expected, kills = (tmp_path / "undisturbed.jsonl").read_bytes(), 0
    for i in range(KILLS):
        shard = Shard(i % n_shards + 1, n_shards)
        n_cached_before = count_cached(shard.path_beside(tmp_path / "killed.jsonl", ".cache"))
        process, shard_path, cache_path = start_shard(shard, tmp_path / "killed.jsonl", [])
        while count_cached(cache_path) < n_cached_before + 8 and process.is_alive():
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        assert shard_path.exists() == (process.exitcode == 0)
    assert kills > 0
    cache_paths = sorted(tmp_path.glob("killed.*.cache"))
    merged_cache, n_other_shards = tmp_path / "other.cache", n_shards % 4 + 1
    n_merged = merge_caches(cache_paths, merged_cache)
    assert n_merged == sum(map(count_cached, cache_paths)) > 0
    shard_paths = []
    for i in range(1, n_other_shards + 1):
        process, shard_path, _ = start_shard(
            Shard(i, n_other_shards), tmp_path / "again.jsonl", [merged_cache]
        )
        process.join()
        assert process.exitcode == 0
        shard_paths.append(shard_path)
    result, _ = merge_shards(shard_paths, tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == expected
    assert result.counts.from_cache == n_merged
