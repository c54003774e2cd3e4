"""`gen-msa serve vllm:…` around a server of ours that takes vLLM's flags: proven, ended well."""

import importlib.util
import io
import json
import os
import shutil
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

from gen_msa import manifest, prompting
from gen_msa.errors import UserError
from gen_msa.serving.logs import Log
from gen_msa.serving.vllm import VllmSettings
from gen_msa.serving.vllm.finding import find
from gen_msa.serving.vllm.running import Running, planned
from gen_msa.settings import load
from tests.backends import trained
from tests.fixtures import fake_vllm_server

KEY = "a-key-for-tests-only"
PROMPT = "reader/plain"
OTHERS = ("reader/aspects", "reader/overall", "reader/reask")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return trained.saved("llama", tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="module")
def worn(base, tmp_path_factory):
    reading = {"prompt": PROMPT, "cues": {}, "picture": {"max_pixels": 2000}}
    digest = prompting.load(PROMPT).digest
    folder = tmp_path_factory.mktemp("adapters") / "mabsa"
    return trained.train(base, folder, prompts={PROMPT: digest}, reading=reading)


def resealed(worn, folder, **changes):
    """A copy of the adapter whose `reading.json` says something else."""
    shutil.copytree(worn, folder)
    facts = json.loads((folder / "reading.json").read_text())
    for name, value in changes.items():
        facts[name] = facts[name] | value if isinstance(value, dict) else value
    (folder / "reading.json").write_text(json.dumps(facts))
    (folder / manifest.NAME).unlink()
    manifest.seal(folder)
    return folder


def settings(base, adapter, *overrides):
    return load(VllmSettings, overrides=[f"reader=vllm:{base}@{adapter}", *overrides])


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
    here = Here(base, worn, it)
    words = here.ended()
    assert said in words
    assert "mend:" in words
    assert '"ready"' not in here.stream.getvalue()
    assert not alive(it.child()["pid"])


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


def said(monkeypatch, capsys, *words):
    """What the command line prints and how it ends."""
    from gen_msa.cli import main

    monkeypatch.setattr("sys.argv", ["gen-msa", *words])
    code = 0
    try:
        main()
    except SystemExit as e:
        code = e.code or 0
    out = capsys.readouterr()
    return code, out.out, out.err


def test_print_shows_the_command_without_the_key_and_starts_nothing(
    base, worn, monkeypatch, capsys
):
    monkeypatch.setenv("GEN_MSA_TOKEN", KEY)
    code, out, err = said(monkeypatch, capsys, "serve", f"vllm:{base}@{worn}", "--print")
    assert code == 0
    assert "-m vllm.entrypoints.openai.api_server" in out
    assert 'VLLM_API_KEY="${GEN_MSA_TOKEN:?}"' in out
    assert KEY not in out + err


def test_print_is_for_vllm_alone(monkeypatch, capsys):
    code, _, err = said(monkeypatch, capsys, "serve", "echo", "--print")
    assert code == 2
    assert "--print is for vllm" in err


def test_without_vllm_its_extra_is_named(base, worn, monkeypatch, capsys):
    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("vLLM is installed here")
    code, _, err = said(monkeypatch, capsys, "serve", f"vllm:{base}@{worn}")
    assert code == 2
    assert "gen-msa[vllm]" in err


def test_another_environment_s_interpreter_is_not_taken_for_ours(
    base, worn, tmp_path, monkeypatch, capsys
):
    """Though both are links to one file, as those of virtual environments are."""
    (tmp_path / "bin").mkdir()
    link = tmp_path / "bin" / "python"
    link.symlink_to(Path(sys.executable).resolve())
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        given = [f"port={door.getsockname()[1]}", f"python={link}"]
    code, _, err = said(monkeypatch, capsys, "serve", f"vllm:{base}@{worn}", *given)
    assert code == 2
    assert "ended by itself" in err


def test_names_lengths_and_ranks_follow_from_the_folders(base, worn, tmp_path):
    found = find(settings(base, worn))
    assert (found.names, found.rank, found.length) == (("mabsa", "tiny-llama"), 8, None)
    folder = tmp_path / "mabsa"
    shutil.copytree(worn, folder)
    (folder / "recipe.yaml").write_text("max_length: 900\n")
    (folder / manifest.NAME).unlink()
    manifest.seal(folder)
    length = find(settings(base, folder)).length
    assert length == 900 + max(prompting.load(p).max_new_tokens for p in (PROMPT, *OTHERS))
    assert find(settings(base, folder, "max_new_tokens=11")).length == 911
    assert find(settings(base, folder, "max_new_tokens=9000")).length == 2048
    with pytest.raises(UserError, match="both be called"):
        find(settings(base, worn, "name=tiny-llama"))


def test_asking_otherwise_than_training_did_is_refused_before_anything_starts(base, worn, tmp_path):
    for given in ("prompt=reader/full", "picture.max_pixels=9"):
        with pytest.raises(UserError, match="trained with"):
            find(settings(base, worn, given))
    changed = resealed(worn, tmp_path / "prompt", prompts={PROMPT: "0" * 64})
    with pytest.raises(UserError, match="not as it was in training"):
        find(settings(base, changed))
    template = resealed(worn, tmp_path / "template", template_sha256="0" * 64)
    with pytest.raises(UserError, match="another chat template"):
        find(settings(base, template))
    other = resealed(worn, tmp_path / "base", base_sha256="0" * 64)
    with pytest.raises(UserError, match="another base"):
        find(settings(base, other))


def test_a_host_that_others_reach_demands_a_token(base, worn, monkeypatch):
    monkeypatch.delenv("GEN_MSA_TOKEN", raising=False)
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    with pytest.raises(UserError, match="no token"):
        planned(settings(base, worn, "host=0.0.0.0"))
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    plan, _ = planned(settings(base, worn, "host=0.0.0.0"))
    assert plan.secret == KEY
    assert plan.secret_from == "VLLM_API_KEY"
    (base.parent / "token").write_text(KEY)
    plan, _ = planned(settings(base, worn, f"token_file={base.parent / 'token'}"))
    assert plan.secret_from == str(base.parent / "token")


def test_an_interpreter_that_is_not_there_is_named(base, worn):
    asked = settings(base, worn, "python=/no/such/python", "port=18923")
    running = Running(*planned(asked), asked, log=Log(io.StringIO()))
    with pytest.raises(UserError, match="/no/such/python cannot be started"):
        running.run()
