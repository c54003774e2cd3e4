"""SIGKILL at random moments: no row lost or repeated; the bytes of an undisturbed run."""

import hashlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fixtures.posts import post, write_posts

KILLS = 20
POSTS = 3_000


def count_cached(cache_path: Path) -> int:
    """Return how many posts the cache holds, read by another process."""
    if not cache_path.exists():
        return 0
    with sqlite3.connect(f"file:{cache_path}?mode=ro", uri=True, timeout=30) as db:
        try:
            return int(db.execute("SELECT count(*) FROM answers").fetchone()[0])
        except sqlite3.OperationalError:  # the table does not exist yet
            return 0


@pytest.mark.slow
def test_output_is_unchanged_by_twenty_kills(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(POSTS)))
    options = ["--model", "echo", "chunk=16", "cues={}"]
    command = [sys.executable, "-m", "gen_msa", "explain", str(path), *options]

    def start(out: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command, "-o", str(tmp_path / out)], stderr=subprocess.DEVNULL)

    rng = random.Random(1)
    out, cache_path = tmp_path / "killed.jsonl", tmp_path / "killed.cache"
    for i in range(KILLS):
        job = start(out.name)
        while count_cached(cache_path) < POSTS * i // (2 * KILLS) and job.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.05))
        job.send_signal(signal.SIGKILL)
        assert job.wait() == -signal.SIGKILL
        assert not out.exists()
    n_cached = count_cached(cache_path)
    assert 0 < n_cached < POSTS
    assert start(out.name).wait() == 0
    assert start("undisturbed.jsonl").wait() == 0
    undisturbed = tmp_path / "undisturbed.jsonl"
    assert (
        hashlib.sha256(out.read_bytes()).digest()
        == hashlib.sha256(undisturbed.read_bytes()).digest()
    )
    assert len(out.read_bytes().splitlines()) == POSTS
    assert [p.name for p in tmp_path.glob(".*.part")] == []
