"""A job whose server is killed in its middle: what is lost is said, and asked by the next run.

Between the job and the server stands a door that kills the server at a given answer, so that the
machine's speed decides nothing.
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
from tests.vllm.servers import ROOT, Served, start

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


class Passing:
    """Hands each question to `served` and its answer back; kills it when `last` were answered."""

    def __init__(self, served: Served, last: int) -> None:
        self.served, self.last, self.answered = served, last, 0
        self.lock = threading.Lock()

    def __call__(self, body):
        door = f"{self.served.url}/v1/chat/completions"
        answer = httpx.post(door, json=body, timeout=120, trust_env=False).raise_for_status().json()
        with self.lock:
            self.answered += 1
            if self.answered == self.last:
                self.served.kill()
        return answer


def explain(source: Path, out: Path, url: str, adapter: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gen_msa", "explain", str(source), "-o", str(out)]
    given = [f"backend.adapter={adapter}", "backend.api_key_variable=", "backend.retries=1"]
    given += ["chunk=8", "aspects=given", "reask_prompt=", "max_bad=1.0"]
    told = [*command, "--reader", f"http:{url}#mabsa", *given]
    return subprocess.run(told, cwd=ROOT, capture_output=True, text=True, timeout=600)


def test_a_server_killed_in_the_middle_loses_no_row_and_doubles_none(
    text_model, text_adapter, source, tmp_path
):
    out, target = tmp_path / "out.jsonl", f"{text_model}@{text_adapter}"
    server = start(target, tmp_path / "server.log")
    server.wait("ready")
    passing = Passing(server, last=70)
    with FakeOpenAI(answer=passing) as between:
        said = explain(source, out, between.url, text_adapter).stderr
        assert server.process.returncode == 2
        lost = re.search(r"(\d+) posts could not be asked; run again", said)
        assert lost, said
        assert 0 < int(lost[1]) < POSTS
        before = passing.answered
        again = start(target, tmp_path / "again.log")
        try:
            again.wait("ready")
            passing.served = again
            ran = explain(source, out, between.url, text_adapter)
        finally:
            again.process.send_signal(signal.SIGTERM)
            assert again.process.wait(90) == 0
    assert ran.returncode == 0, ran.stderr
    assert f"{POSTS - int(lost[1])} posts answered from the ledger" in ran.stderr
    assert 70 <= before < 2 * POSTS
    assert passing.answered - before == 2 * int(lost[1])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r["post"]["id"] for r in rows] == [f"p{i}" for i in range(POSTS)]
    assert {len(r["opinions"]) for r in rows} == {2}
    assert not [o for r in rows for o in r["opinions"] if o["status"] == "error"]
