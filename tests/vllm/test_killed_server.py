"""A job whose server is killed midway: what is lost is counted, and the next run asks it again.

A proxy between job and server kills the server at a given answer, so that the machine's speed does
not matter.
"""

import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from tests.fixtures.fake_openai import FakeOpenAI
from tests.vllm.servers import ROOT, ServerProcess, start_server

POSTS = 120


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "posts.jsonl"
    rows = [
        {
            "post": {
                "id": f"p{i}",
                "text": f"The soup {i} was cold but the waiter kind",
                "aspects": [{"term": "soup", "start": 4}, {"term": "waiter"}],
            }
        }
        for i in range(POSTS)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


class KillingProxy:
    """Forwards each request and its answer; kills the server after `kill_after` answers."""

    def __init__(self, server: ServerProcess, kill_after: int) -> None:
        self.server, self.kill_after, self.n_answered = server, kill_after, 0
        self.lock = threading.Lock()

    def __call__(self, body):
        url = f"{self.server.url}/v1/chat/completions"
        answer = httpx.post(url, json=body, timeout=120, trust_env=False).raise_for_status().json()
        with self.lock:
            self.n_answered += 1
            if self.n_answered == self.kill_after:
                self.server.kill()
        return answer


def explain(source: Path, out: Path, url: str, adapter: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gen_msa", "explain", str(source), "-o", str(out)]
    options = [f"backend.adapter={adapter}", "backend.api_key_variable=", "backend.retries=1"]
    options += ["chunk=8", "aspects=given", "reask_prompt=", "max_error_rate=1.0"]
    full_command = [*command, "--model", f"http:{url}#mabsa", *options]
    return subprocess.run(full_command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def test_killed_server_loses_and_duplicates_no_row(text_model, text_adapter, source, tmp_path):
    out, target = tmp_path / "out.jsonl", f"{text_model}@{text_adapter}"
    server = start_server(target, tmp_path / "server.log")
    server.wait("ready")
    proxy = KillingProxy(server, kill_after=70)
    with FakeOpenAI(answer=proxy) as proxy_server:
        stderr = explain(source, out, proxy_server.url, text_adapter).stderr
        assert server.process.returncode == 2
        unanswered = re.search(r"(\d+) posts? without an answer; run again", stderr)
        assert unanswered, stderr
        assert 0 < int(unanswered[1]) < POSTS
        n_answered_before = proxy.n_answered
        second_server = start_server(target, tmp_path / "again.log")
        try:
            second_server.wait("ready")
            proxy.server = second_server
            completed = explain(source, out, proxy_server.url, text_adapter)
        finally:
            second_server.process.send_signal(signal.SIGTERM)
            assert second_server.process.wait(90) == 0
    assert completed.returncode == 0, completed.stderr
    assert f"{POSTS - int(unanswered[1])} posts answered from the cache" in completed.stderr
    assert 70 <= n_answered_before < 2 * POSTS
    assert proxy.n_answered - n_answered_before == 2 * int(unanswered[1])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r["post"]["id"] for r in rows] == [f"p{i}" for i in range(POSTS)]
    assert {len(r["opinions"]) for r in rows} == {2}
    assert not [o for r in rows for o in r["opinions"] if o["status"] == "error"]
