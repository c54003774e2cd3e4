"""Killed at twenty places, a run goes on, and what is left are the bytes of one never stopped."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa.distilling import resuming  # noqa: E402
from gen_msa.distilling.__main__ import main  # noqa: E402
from gen_msa.distilling.loop import Run, distil  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from tests.distilling import faults, together  # noqa: E402
from tests.distilling.doubles import stopping  # noqa: E402

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


def now(**changed):
    return {"seed": 0, "torch": "2", "device": "cpu", "processes": 1, "steps": 9, **changed}


def test_a_checkpoint_comes_back_and_a_spoilt_one_is_passed_over(tmp_path):
    at = tmp_path / "checkpoint"
    states = {"torch": torch.arange(4)}
    resuming.save(at, resuming.Stand(now(), step=7), parts(), states)
    stand, found, changed = resuming.restore(at, now(), parts())
    assert (stand.step, changed) == (7, [])
    assert torch.equal(found["torch"], states["torch"])
    with (at / "model.safetensors").open("r+b") as f:
        f.seek(-1, 2)
        f.write(b"\xff")
    assert resuming.restore(at, now(), parts()) == (resuming.Stand(now()), {}, [])
    resuming.forget(at)
    assert not at.exists()


def test_a_run_with_more_processes_or_steps_goes_on_and_hears_what_changed(tmp_path):
    at = tmp_path / "checkpoint"
    resuming.save(at, resuming.Stand(now(), step=7), parts(), {})
    other = now(processes=2, steps=12)
    stand, _, changed = resuming.restore(at, other, parts())
    assert (stand.step, stand.settings) == (7, other)
    assert changed == ["steps: 9 then, 12 now", "processes: 1 then, 2 now"]


def test_more_steps_go_on_at_the_rate_of_their_own_schedule(tmp_path):
    def falling(steps):
        made = parts()
        updates = []
        for optimizer, _ in made.updates:
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1 - n / steps)
            updates.append((optimizer, schedule))
        return resuming.Parts(made.module, updates)

    at, short, long = tmp_path / "checkpoint", falling(4), falling(8)
    for _, schedule in short.updates:
        schedule.step()
        schedule.step()
    resuming.save(at, resuming.Stand(now(steps=4), step=2), short, {})
    resuming.restore(at, now(steps=8), long)
    for (optimizer, schedule), rate in zip(long.updates, (0.1, 0.2), strict=True):
        assert optimizer.param_groups[0]["lr"] == schedule.get_last_lr()[0] == rate * (1 - 2 / 8)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 1}, "seed: 0 then, 1 now"),
        ({"steps": 8}, "steps: 9 then, 8 now (num_train_epochs)"),
        ({"bf16": True}, "bf16: not set then, true now"),
    ],
)
def test_another_runs_checkpoint_is_refused_by_what_differs_and_stays(tmp_path, changed, named):
    at = tmp_path / "checkpoint"
    resuming.save(at, resuming.Stand(now(), step=7), parts(), {})
    with pytest.raises(UserError, match="is of another run") as caught:
        resuming.restore(at, now(**changed), parts())
    assert caught.value.problem.endswith(named)
    assert "output_dir" in caught.value.mend
    assert "--fresh" in caught.value.mend
    assert resuming.restore(at, now(), parts())[0].step == 7


def test_a_checkpoint_that_says_no_settings_is_refused(tmp_path):
    at = tmp_path / "checkpoint"
    resuming.save(at, resuming.Stand({}, step=7), parts(), {})
    with pytest.raises(UserError, match="does not say by which settings"):
        resuming.check(at, now())


@pytest.fixture
def stopped(tmp_path):
    """A function: the recipe of a run that was stopped in its second epoch, but for changes."""
    faults.write_rows(tmp_path)
    told = together.stopping_recipe(tmp_path, "out")
    stopping.Stopping.at = 1
    with pytest.raises(stopping.Stopped):
        distil(told, tokenizer=tmp_path / "words.json")
    return lambda **changed: told.model_copy(update=changed)


def run(said, folder):
    """A whole run."""
    return distil(said, tokenizer=folder / "words.json")


def test_whole_runs_refuse_go_on_and_begin_anew(stopped, tmp_path, capsys):
    out = tmp_path / "out"
    before = faults.left(out)
    assert any("checkpoint/" in name for name in before)
    with pytest.raises(UserError, match=r"learning_rate: 0\.01 then, 0\.02 now") as caught:
        run(stopped(learning_rate=0.02), tmp_path)
    assert "seed" not in caught.value.problem
    with pytest.raises(UserError, match=r"steps: \d+ then, \d+ now \(num_train_epochs\)"):
        run(stopped(num_train_epochs=1), tmp_path)
    assert faults.left(out) == before
    again = shutil.copytree(out, tmp_path / "again")
    capsys.readouterr()
    run(stopped(num_train_epochs=3, output_dir=str(again), logging_steps=1), tmp_path)
    said = capsys.readouterr().err
    assert "going on after step" in said
    assert "note: steps: " in said
    run(stopped(learning_rate=0.02, resume=False), tmp_path)
    said = capsys.readouterr().err
    assert f"begins anew; its first checkpoint replaces {out / 'checkpoint'}" in said
    assert "going on" not in said
    assert not (out / "checkpoint").exists()
    card = (out / "student/recipe.yaml").read_text("utf-8")
    assert "learning_rate: 0.02" in card
    assert "resume" not in card


def test_a_helpers_checkpoint_of_another_run_is_seen_before_the_student_is_trained(
    stopped, tmp_path
):
    out = tmp_path / "folds"
    said = stopped(output_dir=str(out), folds=2)
    resuming.save(
        out / "fold-1/checkpoint", resuming.Stand(Run(said, tmp_path / "words.json").stand.settings
        | {"seed": 5, resuming.DATA: "its own"}), parts(), {},
    )  # fmt: skip
    before = faults.left(out)
    with pytest.raises(UserError, match=r"fold-1.* is of another run.*: seed: 5 then, 0 now"):
        run(said, tmp_path)
    assert faults.left(out) == before


@pytest.mark.parametrize("flag", ["--fresh", "--no-resume"])
def test_the_flag_of_the_hint_is_one_of_the_launcher(flag, monkeypatch):
    asked = []
    monkeypatch.setattr("gen_msa.distilling.__main__.start", lambda *a, **k: asked.append((a, k)))
    main(["--recipe", "text", flag])
    assert asked == [(("text", []), {"dry_run": False, "resume": False})]


def test_a_memory_comes_back_in_its_order_in_place_of_what_was_there(tmp_path):
    at, kept = tmp_path / "checkpoint", {f"z/{9 - i}": torch.full((2,), i) for i in range(9)}
    resuming.save(at, resuming.Stand(now()), parts(kept), {})
    again = parts({"other": torch.zeros(2)})
    resuming.restore(at, now(), again)
    assert list(again.memory) == list(kept)
    assert all(torch.equal(again.memory[k], v) for k, v in kept.items())
