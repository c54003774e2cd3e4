"""kill -9 at random moments: nothing lost, nothing twice, the same bytes as without a kill."""

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


def answered(ledger: Path) -> int:
    """Posts in the ledger now, seen from outside."""
    if not ledger.exists():
        return 0
    with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=30) as db:
        try:
            return int(db.execute("SELECT count(*) FROM answers").fetchone()[0])
        except sqlite3.OperationalError:  # the table is about to be made
            return 0


@pytest.mark.slow
def test_twenty_kills_leave_the_output_of_an_undisturbed_run(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(POSTS)))
    own = ["--reader", "echo", "chunk=16", "cues={}"]
    command = [sys.executable, "-m", "gen_msa", "explain", str(path), *own]

    def start(out: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command, "-o", str(tmp_path / out)], stderr=subprocess.DEVNULL)

    chance = random.Random(1)
    out, ledger = tmp_path / "killed.jsonl", tmp_path / "killed.ledger"
    for i in range(KILLS):
        job = start(out.name)
        while answered(ledger) < POSTS * i // (2 * KILLS) and job.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.05))
        job.send_signal(signal.SIGKILL)
        assert job.wait() == -signal.SIGKILL
        assert not out.exists()
    done = answered(ledger)
    assert 0 < done < POSTS
    assert start(out.name).wait() == 0
    assert start("whole.jsonl").wait() == 0
    whole = tmp_path / "whole.jsonl"
    assert hashlib.sha256(out.read_bytes()).digest() == hashlib.sha256(whole.read_bytes()).digest()
    assert len(out.read_bytes().splitlines()) == POSTS
    assert [p.name for p in tmp_path.glob(".*.part")] == []
