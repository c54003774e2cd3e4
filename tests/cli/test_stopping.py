"""A stop signal ends a job soon; the next run continues from the cached answers."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.fixtures.fake_openai import FakeOpenAI
from tests.fixtures.posts import post, write_posts

QUICK = ("cues={}", "chunk=4", "backend.retries=0", "backend.api_key_variable=", "reask_prompt=")


@pytest.mark.parametrize(("sig", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stop_signal_keeps_only_finished_answers(tmp_path, sig, code):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    posts = write_posts(tmp_path / "posts.jsonl", map(post, range(12)))
    (tmp_path / "scratch").mkdir()
    hangs = [True]

    def plan(text, attempt):
        return "hang" if hangs[0] and "#9\n" in text else ""

    with FakeOpenAI(plan=plan) as server:
        # A file:// address, so that the posts are first downloaded to a temporary folder.
        command = [sys.executable, "-m", "gen_msa", "explain", posts.as_uri(), "-o", "o.jsonl"]
        job = subprocess.Popen(
            [*command, "--model", f"http:{server.url}#m", *QUICK],
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path / "scratch")},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            deadline = time.monotonic() + 60
            while not server.faults["hang"]:
                assert time.monotonic() < deadline, "the job did not reach the post that hangs"
                assert job.poll() is None, job.stderr.read()
                time.sleep(0.01)
            signal_time = time.monotonic()
            job.send_signal(sig)
            stderr = job.communicate(timeout=60)[1]
        finally:
            job.kill()
        assert time.monotonic() - signal_time < 20
        assert job.returncode == code
        assert "gen-msa: stopped; finished answers are kept" in stderr
        assert "Traceback" not in stderr
        assert list((tmp_path / "scratch").iterdir()) == []
        assert not (tmp_path / "o.jsonl").exists()
        hangs[0], n_requests_before = False, len(server.request_bodies)
        rerun = subprocess.run(job.args, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert rerun.returncode == 0, rerun.stderr
        assert "posts answered from the cache" in rerun.stderr
        assert len(server.request_bodies) - n_requests_before < 24
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 12
