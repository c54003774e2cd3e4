"""kill -9 at random moments: nothing lost, nothing twice, the same bytes as without a kill."""

import hashlib
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.fixtures.posts import post, write_posts

KILLS = 20
POSTS = 3_000


@pytest.mark.slow
def test_twenty_kills_leave_the_output_of_an_undisturbed_run(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(POSTS)))
    command = [
        sys.executable,
        "-m",
        "gen_msa",
        "explain",
        str(path),
        "--reader",
        "echo",
        "chunk=16",
    ]

    def start(out: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command, "-o", str(tmp_path / out)], stderr=subprocess.DEVNULL)

    began = time.monotonic()
    assert start("whole.jsonl").wait() == 0
    whole = time.monotonic() - began
    chance = random.Random(1)
    killed = 0
    for _ in range(KILLS):
        job = start("killed.jsonl")
        time.sleep(chance.uniform(0.2, 1.0) * whole)
        job.send_signal(signal.SIGKILL)
        killed += job.wait() == -signal.SIGKILL
        (tmp_path / "killed.jsonl").unlink(missing_ok=True)
    assert killed >= KILLS // 4, "the kills came too late to mean anything"
    assert start("killed.jsonl").wait() == 0
    digests = [
        hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        for name in ("whole.jsonl", "killed.jsonl")
    ]
    assert digests[0] == digests[1]
    assert len((tmp_path / "killed.jsonl").read_bytes().splitlines()) == POSTS
