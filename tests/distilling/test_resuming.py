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


def killed(folder, points, student):
    command = [sys.executable, "-m", "tests.distilling.faults", str(folder), str(points), student]
    root = Path(__file__).parents[2]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=280)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return killed(tmp_path_factory.mktemp("killed"), POINTS, "text")


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


@pytest.mark.parametrize("student", ["self_mm", "estimating", "staging"])
def test_memories_and_optimisers_in_turn_are_gone_on_with_to_the_byte(tmp_path, student):
    whole, *runs = killed(tmp_path, 3, student)
    assert any(r["on"] for r in runs)
    for run in runs:
        assert (run["code"], run["again"]) == (-signal.SIGKILL, 0)
        assert run["after"] == whole["after"], f"killed at touch {run['point']}"


def parts(memory=None):
    module, updates = torch.nn.Linear(2, 2), []
    for rate in (0.1, 0.2):
        optimizer = torch.optim.AdamW(module.parameters(), lr=rate)
        module(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        updates.append((optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)))
    return resuming.Parts(module, updates, memory or {})


def test_another_runs_checkpoint_and_a_spoilt_one_are_passed_over(tmp_path):
    at = tmp_path / "checkpoint"
    states = {"torch": torch.arange(4)}
    resuming.save(at, resuming.Stand("a", step=7), parts(), states)
    stand, found = resuming.restore(at, "a", parts())
    assert stand.step == 7
    assert torch.equal(found["torch"], states["torch"])
    assert resuming.restore(at, "b", parts()) == (resuming.Stand("b"), {})
    with (at / "model.safetensors").open("r+b") as f:
        f.seek(-1, 2)
        f.write(b"\xff")
    assert resuming.restore(at, "a", parts()) == (resuming.Stand("a"), {})
    resuming.forget(at)
    assert not at.exists()


def test_a_memory_comes_back_in_its_order_in_place_of_what_was_there(tmp_path):
    at, kept = tmp_path / "checkpoint", {f"z/{9 - i}": torch.full((2,), i) for i in range(9)}
    resuming.save(at, resuming.Stand("a"), parts(kept), {})
    again = parts({"other": torch.zeros(2)})
    resuming.restore(at, "a", again)
    assert list(again.memory) == list(kept)
    assert all(torch.equal(again.memory[k], v) for k, v in kept.items())
