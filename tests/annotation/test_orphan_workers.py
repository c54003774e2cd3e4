"""Worker processes end with the job that started them, however the job ends."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.fixtures.fake_openai import FakeOpenAI
from tests.fixtures.posts import post, write_posts


@pytest.mark.slow
@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_worker_processes_end_with_a_killed_job(tmp_path, sig):
    posts = write_posts(tmp_path / "posts.jsonl", map(post, range(400)))
    with FakeOpenAI(delay_s=0.05) as server:
        options = [f"http:{server.url}#m", "cues={}", "chunk=2", "workers=2"]
        options += ["backend.api_key_variable=", "reask_prompt="]
        job = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "gen_msa",
                "explain",
                posts,
                "-o",
                tmp_path / "o.jsonl",
                "-m",
                *options,
            ],
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while len(server.request_bodies) < 8:
            assert job.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        workers = psutil.Process(job.pid).children(recursive=True)
        assert len(workers) >= 2
        job.send_signal(sig)
        job.wait(30)
        _, alive = psutil.wait_procs(workers, timeout=15)
        assert alive == []
