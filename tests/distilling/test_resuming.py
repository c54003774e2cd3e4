"""Killed at twenty places, a run goes on, and what is left are the bytes of one never stopped."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa.distilling import resuming  # noqa: E402

POINTS = 20


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("killed"))
    command = [sys.executable, "-m", "tests.distilling.faults", folder, str(POINTS)]
    root = Path(__file__).parents[2]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=280)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]


def test_every_run_was_killed_and_every_next_one_ended_well(runs):
    assert len(runs) == POINTS + 1
    assert {r["code"] for r in runs[1:]} == {-signal.SIGKILL}
    assert {r["again"] for r in runs[1:]} == {0}


def test_what_is_left_is_what_an_undisturbed_run_leaves(runs):
    whole = runs[0]["after"]
    assert {"log.jsonl", "student/model.safetensors", "student/figures.json"} < set(whole)
    for run in runs[1:]:
        assert run["after"] == whole, f"killed at touch {run['point']}"


def test_most_of_them_did_not_begin_anew(runs):
    assert sum(r["on"] for r in runs[1:]) >= POINTS // 2


def module_and_state():
    module = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return module, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)


def test_another_runs_checkpoint_and_a_spoilt_one_are_passed_over(tmp_path):
    at = tmp_path / "checkpoint"
    resuming.save(at, resuming.Stand("a", step=7), *module_and_state())
    assert resuming.restore(at, "a", *module_and_state()).step == 7
    assert resuming.restore(at, "b", *module_and_state()) == resuming.Stand("b")
    with (at / "model.safetensors").open("r+b") as f:
        f.seek(-1, 2)
        f.write(b"\xff")
    assert resuming.restore(at, "a", *module_and_state()) == resuming.Stand("a")
    resuming.forget(at)
    assert not at.exists()
