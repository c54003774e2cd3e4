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
from gen_msa.serving.logs import Log
from gen_msa.serving.vllm.running import Running, planned
from tests.fixtures import fake_vllm_server
from tests.serving.vllm.making import KEY, settings


def recorded(adapter):
    """What a right server says to the probe: for the adapter, and for its base."""
    probe = json.loads((adapter / "reading.json").read_text())["probe"]
    said = {"mabsa": "adapted", "tiny-llama": "base"}
    return {
        model: (probe["ids"], list(zip(probe["tokens"], probe[which], strict=True)))
        for model, which in said.items()
    }


class Fake:
    """A server of ours in vLLM's place; `python` runs it."""

    def __init__(self, folder, adapter, plan="well", scores=None):
        self.seen = folder / "seen.json"
        self.told = folder / "told.json"
        told = {"plan": plan, "scores": scores or recorded(adapter), "seen": str(self.seen)}
        self.told.write_text(json.dumps(told))
        self.python = folder / "python"
        script = Path(fake_vllm_server.__file__)
        self.python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
        self.python.chmod(0o755)
        with socket.socket() as door:
            door.bind(("127.0.0.1", 0))
            self.port = door.getsockname()[1]

    @property
    def given(self):
        return [f"port={self.port}", f"python={self.python}", "backend.dtype=float32"]

    def child(self):
        return json.loads(self.seen.read_text())


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def fake(worn, tmp_path, monkeypatch):
    def make(**more):
        made = Fake(tmp_path, worn, **more)
        monkeypatch.setenv("FAKE_VLLM", str(made.told))
        monkeypatch.setenv("GEN_MSA_TOKEN", KEY)
        return made

    return make


class Here:
    """`Running` in a thread of this process."""

    def __init__(self, base, worn, fake, *given):
        self.stream = io.StringIO()
        asked = settings(base, worn, *fake.given, *given)
        self.running = Running(*planned(asked), asked, log=Log(self.stream))
        self.error = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            self.running.run()
        except UserError as e:
            self.error = e

    def wait(self, event, seconds=30):
        until = time.monotonic() + seconds
        while f'"{event}"' not in self.stream.getvalue():
            assert time.monotonic() < until, self.stream.getvalue()
            assert self.thread.is_alive(), self.error
            time.sleep(0.02)

    def ended(self):
        self.thread.join(60)
        assert not self.thread.is_alive()
        return str(self.error or "")


def test_it_waits_for_health_proves_the_adapter_and_passes_on_the_word_to_stop(
    base, worn, fake, tmp_path
):
    it = fake()
    command = [sys.executable, "-m", "gen_msa", "serve", f"vllm:{base}@{worn}", *it.given]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if '"ready"' in line:
            break
    ready = json.loads(lines[-1])
    assert ready["probe"] == "the server answers as training did"
    assert ready["models"] == "mabsa, tiny-llama"
    assert ready["url"] == f"http://127.0.0.1:{it.port}/v1"
    child = it.child()
    assert child["argv"][:2] == ["-m", "vllm.entrypoints.openai.api_server"]
    assert child["environment"]["VLLM_API_KEY"] == KEY
    assert "GEN_MSA_TOKEN" not in child["environment"]
    assert child["environment"]["VLLM_MEDIA_URL_ALLOW_REDIRECTS"] == "0"
    process.send_signal(signal.SIGTERM)
    lines += process.stderr.readlines()
    assert process.wait(30) == 0
    process.stderr.close()
    assert KEY not in "".join([*child["argv"], *lines])
    assert not alive(child["pid"])


def test_a_server_that_will_not_stop_is_killed(base, worn, fake):
    it = fake(plan="stubborn")
    here = Here(base, worn, it, "stop_seconds=0.5")
    here.wait("ready")
    here.running.stop()
    assert here.ended() == ""
    assert '"killed"' in here.stream.getvalue()
    assert not alive(it.child()["pid"])


@pytest.mark.parametrize(
    ("plan", "said"),
    [("dies", "ended by itself, with code 7"), ("never", "not ready within 1 s")],
)
def test_a_server_that_dies_or_is_never_ready_ends_with_the_reason(base, worn, fake, plan, said):
    it = fake(plan=plan)
    here = Here(base, worn, it, "start_seconds=1")
    assert said in here.ended()
    assert not alive(it.child()["pid"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda good: {**good, "mabsa": good["tiny-llama"]}, "changes nothing"),
        (lambda good: {**good, "mabsa": off(good["mabsa"], 0.5)}, "off by 0.5 nats"),
        (lambda good: {**good, "tiny-llama": off(good["tiny-llama"], 0.5)}, "the base model"),
        (lambda good: {k: (v[0][:-1], v[1]) for k, v in good.items()}, "other tokens"),
        (lambda good: {}, "cannot be asked for the probe"),
    ],
    ids=["no effect", "another adapter", "another base", "another template", "no such model"],
)
def test_a_server_that_answers_otherwise_than_in_training_is_ended(base, worn, fake, change, said):
    it = fake(scores=change(recorded(worn)) or {"mabsa": "nothing"})
    sign = it.told.with_name("sign")
    here = Here(base, worn, it, f"ready_file={sign}")
    words = here.ended()
    assert said in words
    assert not sign.exists()
    assert "mend:" in words
    assert '"ready"' not in here.stream.getvalue()
    assert not alive(it.child()["pid"])


def test_the_sign_of_readiness_is_there_while_it_is_ready_and_never_an_old_one(
    base, worn, fake, tmp_path
):
    sign = tmp_path / "ready"
    sign.touch()
    it = fake(plan="never")
    here = Here(base, worn, it, f"ready_file={sign}", "start_seconds=1")
    assert "not ready within 1 s" in here.ended()
    assert not sign.exists()
    it = fake()
    here = Here(base, worn, it, f"ready_file={sign}")
    here.wait("ready")
    assert sign.exists()
    here.running.stop()
    assert here.ended() == ""
    assert not sign.exists()
    lost = Here(base, worn, fake(), f"ready_file={tmp_path / 'none' / 'ready'}")
    assert "cannot be used" in lost.ended()


def off(heard, by):
    ids, scores = heard
    return ids, [(i, p - by) for i, p in scores]


def test_a_taken_port_is_not_taken_for_ours(base, worn, fake):
    it = fake()
    with socket.socket() as door:
        door.bind(("127.0.0.1", it.port))
        door.listen()
        assert "cannot be listened on" in Here(base, worn, it).ended()
    assert not it.seen.exists()


def test_an_interpreter_that_is_not_there_is_named(base, worn):
    asked = settings(base, worn, "python=/no/such/python", "port=18923")
    running = Running(*planned(asked), asked, log=Log(io.StringIO()))
    with pytest.raises(UserError, match="/no/such/python cannot be started"):
        running.run()
