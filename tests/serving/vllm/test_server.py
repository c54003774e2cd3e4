"""`gen-msa serve vllm:…` around a server of ours that takes vLLM's flags: proven, ended well."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

from gen_msa.errors import UserError
from gen_msa.serving.logs import JsonLog
from gen_msa.serving.vllm.server import VllmServer, plan_server
from tests.fixtures import fake_vllm_server
from tests.serving.vllm.builders import KEY, load_settings


def recorded_scores(adapter):
    """What a right server says to the probe: for the adapter, and for its base."""
    probe = json.loads((adapter / "inference.json").read_text())["probe"]
    scores_key = {"mabsa": "adapted", "tiny-llama": "base"}
    return {
        model: (probe["ids"], list(zip(probe["tokens"], probe[key], strict=True)))
        for model, key in scores_key.items()
    }


class FakeServer:
    """A server of ours in vLLM's place; `python` runs it."""

    def __init__(self, folder, adapter, plan="well", scores=None):
        self.seen_path = folder / "seen.json"
        self.plan_path = folder / "told.json"
        plan_fields = {
            "plan": plan,
            "scores": scores or recorded_scores(adapter),
            "record": str(self.seen_path),
        }
        self.plan_path.write_text(json.dumps(plan_fields))
        self.python = folder / "python"
        script = Path(fake_vllm_server.__file__)
        self.python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
        self.python.chmod(0o755)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]

    @property
    def overrides(self):
        return [f"port={self.port}", f"python={self.python}", "backend.dtype=float32"]

    def launch_record(self):
        return json.loads(self.seen_path.read_text())


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def make_fake(adapter, tmp_path, monkeypatch):
    def build(**options):
        fake_server = FakeServer(tmp_path, adapter, **options)
        monkeypatch.setenv("FAKE_VLLM", str(fake_server.plan_path))
        monkeypatch.setenv("GEN_MSA_TOKEN", KEY)
        return fake_server

    return build


class ThreadedServer:
    """`Running` in a thread of this process."""

    def __init__(self, base, adapter, fake_server, *overrides):
        self.stream = io.StringIO()
        vllm_settings = load_settings(base, adapter, *fake_server.overrides, *overrides)
        self.server = VllmServer(
            *plan_server(vllm_settings), vllm_settings, log=JsonLog(self.stream)
        )
        self.error = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            self.server.run()
        except UserError as e:
            self.error = e

    def wait(self, event, seconds=30):
        deadline = time.monotonic() + seconds
        while f'"{event}"' not in self.stream.getvalue():
            assert time.monotonic() < deadline, self.stream.getvalue()
            assert self.thread.is_alive(), self.error
            time.sleep(0.02)

    def join(self):
        self.thread.join(60)
        assert not self.thread.is_alive()
        return str(self.error or "")


def test_server_waits_for_health_verifies_adapter_and_forwards_sigterm(
    base, adapter, make_fake, tmp_path
):
    fake_server = make_fake()
    command = [
        sys.executable,
        "-m",
        "gen_msa",
        "serve",
        f"vllm:{base}@{adapter}",
        *fake_server.overrides,
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if '"ready"' in line:
            break
    ready = json.loads(lines[-1])
    assert ready["probe"] == "the server answers as in training"
    assert ready["models"] == "mabsa, tiny-llama"
    assert ready["url"] == f"http://127.0.0.1:{fake_server.port}/v1"
    child = fake_server.launch_record()
    assert child["argv"][:2] == ["-m", "vllm.entrypoints.openai.api_server"]
    assert child["environment"]["VLLM_API_KEY"] == KEY
    assert "GEN_MSA_TOKEN" not in child["environment"]
    assert child["environment"]["VLLM_MEDIA_URL_ALLOW_REDIRECTS"] == "0"
    process.send_signal(signal.SIGTERM)
    lines += process.stderr.readlines()
    assert process.wait(30) == 0
    process.stderr.close()
    assert KEY not in "".join([*child["argv"], *lines])
    assert not is_alive(child["pid"])


def test_unresponsive_server_is_killed(base, adapter, make_fake):
    fake_server = make_fake(plan="stubborn")
    server_thread = ThreadedServer(base, adapter, fake_server, "stop_seconds=0.5")
    server_thread.wait("ready")
    server_thread.server.stop()
    assert server_thread.join() == ""
    assert '"killed"' in server_thread.stream.getvalue()
    assert not is_alive(fake_server.launch_record()["pid"])


@pytest.mark.parametrize(
    ("plan", "message"),
    [("dies", "ended by itself, with code 7"), ("never", "not ready within 1 s")],
)
def test_server_that_dies_or_hangs_raises_with_reason(base, adapter, make_fake, plan, message):
    fake_server = make_fake(plan=plan)
    server_thread = ThreadedServer(base, adapter, fake_server, "start_seconds=1")
    assert message in server_thread.join()
    assert not is_alive(fake_server.launch_record()["pid"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda good: {**good, "mabsa": good["tiny-llama"]}, "has no effect"),
        (lambda good: {**good, "mabsa": shift_scores(good["mabsa"], 0.5)}, "off by 0.5 nats"),
        (
            lambda good: {**good, "tiny-llama": shift_scores(good["tiny-llama"], 0.5)},
            "the base model",
        ),
        (lambda good: {k: (v[0][:-1], v[1]) for k, v in good.items()}, "other tokens"),
        (lambda good: {}, "does not answer the probe"),
    ],
    ids=["no effect", "another adapter", "another base", "another template", "no such model"],
)
def test_server_with_wrong_probe_answers_is_ended(base, adapter, make_fake, change, message):
    fake_server = make_fake(scores=change(recorded_scores(adapter)) or {"mabsa": "nothing"})
    ready_file = fake_server.plan_path.with_name("sign")
    server_thread = ThreadedServer(base, adapter, fake_server, f"ready_file={ready_file}")
    message_text = server_thread.join()
    assert message in message_text
    assert not ready_file.exists()
    assert "hint:" in message_text
    assert '"ready"' not in server_thread.stream.getvalue()
    assert not is_alive(fake_server.launch_record()["pid"])


def test_ready_file_exists_only_while_server_is_ready(base, adapter, make_fake, tmp_path):
    ready_file = tmp_path / "ready"
    ready_file.touch()
    fake_server = make_fake(plan="never")
    server_thread = ThreadedServer(
        base, adapter, fake_server, f"ready_file={ready_file}", "start_seconds=1"
    )
    assert "not ready within 1 s" in server_thread.join()
    assert not ready_file.exists()
    fake_server = make_fake()
    server_thread = ThreadedServer(base, adapter, fake_server, f"ready_file={ready_file}")
    server_thread.wait("ready")
    assert ready_file.exists()
    server_thread.server.stop()
    assert server_thread.join() == ""
    assert not ready_file.exists()
    failing = ThreadedServer(
        base, adapter, make_fake(), f"ready_file={tmp_path / 'none' / 'ready'}"
    )
    assert "cannot be used" in failing.join()


def shift_scores(scored, delta):
    ids, scores = scored
    return ids, [(i, p - delta) for i, p in scores]


def test_port_in_use_is_refused(base, adapter, make_fake):
    fake_server = make_fake()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", fake_server.port))
        listener.listen()
        assert "cannot listen on" in ThreadedServer(base, adapter, fake_server).join()
    assert not fake_server.seen_path.exists()


def test_missing_interpreter_raises_with_its_path(base, adapter):
    vllm_settings = load_settings(base, adapter, "python=/no/such/python", "port=18923")
    server = VllmServer(*plan_server(vllm_settings), vllm_settings, log=JsonLog(io.StringIO()))
    with pytest.raises(UserError, match="/no/such/python cannot be started"):
        server.run()
