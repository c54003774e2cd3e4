"""SIGKILL during a filtered job: no row lost or repeated; the bytes of an undisturbed run."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.annotation.test_kill import count_cached
from tests.fixtures.posts import post, write_posts

KILLS = 20
POSTS = 400


@pytest.mark.slow
def test_filtered_output_is_unchanged_by_twenty_kills(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(POSTS)))
    options = ["--model", "echo", "chunk=4", "cues={}", "-p", "teacher/rationale"]
    options += [
        "filters.mentions_aspect={}",
        "filters.length={}",
        "filters.self_consistency={n_samples: 2, min_agreement: 0.5}",
        "filters.near_duplicate={max_similarity: 0.9}",
    ]
    command = [sys.executable, "-m", "gen_msa", "annotate", str(path), *options]

    def start(out: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command, "-o", str(tmp_path / out)], stderr=subprocess.DEVNULL)

    rng = random.Random(2)
    out, cache_path = tmp_path / "killed.jsonl", tmp_path / "killed.cache"
    for i in range(KILLS):
        job = start(out.name)
        while count_cached(cache_path) < POSTS * i // (2 * KILLS) and job.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.02))
        job.send_signal(signal.SIGKILL)
        assert job.wait() == -signal.SIGKILL
        assert not out.exists()
    assert 0 < count_cached(cache_path) < POSTS
    assert start(out.name).wait() == 0
    assert start("undisturbed.jsonl").wait() == 0
    for suffix in (".jsonl", ".rejected.jsonl"):
        killed = out.with_suffix(suffix).read_bytes()
        assert killed == (tmp_path / "undisturbed.jsonl").with_suffix(suffix).read_bytes()
        assert killed
    killed, undisturbed = (
        json.loads((tmp_path / f"{n}.summary.json").read_text()) for n in ("killed", "undisturbed")
    )
    volatile = {"seconds", "cached_posts"}
    assert {k: v for k, v in killed.items() if k not in volatile} == {
        k: v for k, v in undisturbed.items() if k not in volatile
    }
    assert killed["answers"] == killed["accepted"] + len(
        out.with_suffix(".rejected.jsonl").read_bytes().splitlines()
    )
    assert [p.name for p in tmp_path.glob(".*.part")] == []
