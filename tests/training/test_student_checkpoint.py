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

from gen_msa.distillation.__main__ import main  # noqa: E402
from gen_msa.distillation.loop import Run, distil  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from gen_msa.training import student_checkpoint  # noqa: E402
from tests.distillation import faults, together  # noqa: E402
from tests.distillation.fake_models import stopping  # noqa: E402

N_POINTS = 20


def run_killed(folder, n_points, student):
    command = [
        sys.executable,
        "-m",
        "tests.distillation.fault_injection",
        str(folder),
        str(n_points),
        student,
    ]
    root = Path(__file__).parents[2]
    process = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=280)
    assert process.returncode == 0, process.stderr
    return [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return run_killed(tmp_path_factory.mktemp("killed"), N_POINTS, "text")


def test_every_killed_run_is_resumed_to_the_end(runs):
    assert len(runs) == N_POINTS + 1
    assert {r["code"] for r in runs[1:]} == {-signal.SIGKILL}
    assert {r["resumed_code"] for r in runs[1:]} == {0}


def test_resumed_run_leaves_the_files_of_an_undisturbed_run(runs):
    undisturbed = runs[0]["files"]
    assert {"log.jsonl", "student/model.safetensors", "student/figures.json"} < set(undisturbed)
    for run in runs[1:]:
        assert run["files"] == undisturbed, f"killed at touch {run['point']}"


def test_most_runs_resume_from_a_checkpoint(runs):
    assert sum(r["is_resumed"] for r in runs[1:]) >= N_POINTS // 2


@pytest.mark.parametrize("student", ["self_mm", "two_optimizers", "two_stage"])
def test_row_memory_and_phase_optimizers_resume_identically(tmp_path, student):
    undisturbed, *runs = run_killed(tmp_path, 3, student)
    assert any(r["on"] for r in runs)
    for run in runs:
        assert (run["code"], run["resumed_code"]) == (-signal.SIGKILL, 0)
        assert run["files"] == undisturbed["files"], f"killed at touch {run['point']}"


def stateful(memory=None):
    module, optimizers = torch.nn.Linear(2, 2), []
    for rate in (0.1, 0.2):
        optimizer = torch.optim.AdamW(module.parameters(), lr=rate)
        module(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        optimizers.append((optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)))
    return student_checkpoint.Stateful(module, optimizers, memory or {})


def now(**changed):
    return {"seed": 0, "torch": "2", "device": "cpu", "processes": 1, "steps": 9, **changed}


def test_a_checkpoint_comes_back_and_a_spoilt_one_is_passed_over(tmp_path):
    checkpoint_folder = tmp_path / "checkpoint"
    rng_states = {"torch": torch.arange(4)}
    student_checkpoint.save_checkpoint(
        checkpoint_folder,
        student_checkpoint.StudentTrainState(now(), step=7),
        stateful(),
        rng_states,
    )
    state, restored_rng, changed = student_checkpoint.restore_checkpoint(
        checkpoint_folder, now(), stateful()
    )
    assert (state.step, changed) == (7, [])
    assert torch.equal(restored_rng["torch"], rng_states["torch"])
    with (checkpoint_folder / "model.safetensors").open("r+b") as f:
        f.seek(-1, 2)
        f.write(b"\xff")
    assert student_checkpoint.restore_checkpoint(checkpoint_folder, now(), stateful()) == (
        student_checkpoint.StudentTrainState(now()),
        {},
        [],
    )
    student_checkpoint.delete_checkpoint(checkpoint_folder)
    assert not checkpoint_folder.exists()


def test_a_run_with_more_processes_or_steps_goes_on_and_hears_what_changed(tmp_path):
    checkpoint_folder = tmp_path / "checkpoint"
    student_checkpoint.save_checkpoint(
        checkpoint_folder, student_checkpoint.StudentTrainState(now(), step=7), stateful(), {}
    )
    other = now(processes=2, steps=12)
    state, _, changed = student_checkpoint.restore_checkpoint(checkpoint_folder, other, stateful())
    assert (state.step, state.settings) == (7, other)
    assert changed == ["steps: 9 then, 12 now", "processes: 1 then, 2 now"]


def test_more_steps_go_on_at_the_rate_of_their_own_schedule(tmp_path):
    def falling(steps):
        made = stateful()
        optimizers = []
        for optimizer, _ in made.optimizers:
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1 - n / steps)
            optimizers.append((optimizer, schedule))
        return student_checkpoint.Stateful(made.module, optimizers)

    checkpoint_folder, short, long = tmp_path / "checkpoint", falling(4), falling(8)
    for _, schedule in short.optimizers:
        schedule.step()
        schedule.step()
    student_checkpoint.save_checkpoint(
        checkpoint_folder, student_checkpoint.StudentTrainState(now(steps=4), step=2), short, {}
    )
    student_checkpoint.restore_checkpoint(checkpoint_folder, now(steps=8), long)
    for (optimizer, schedule), rate in zip(long.optimizers, (0.1, 0.2), strict=True):
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
    checkpoint_folder = tmp_path / "checkpoint"
    student_checkpoint.save_checkpoint(
        checkpoint_folder, student_checkpoint.StudentTrainState(now(), step=7), stateful(), {}
    )
    with pytest.raises(UserError, match="is of another run") as caught:
        student_checkpoint.restore_checkpoint(checkpoint_folder, now(**changed), stateful())
    assert caught.value.problem.endswith(named)
    assert "output_dir" in caught.value.mend
    assert "--fresh" in caught.value.mend
    assert student_checkpoint.restore_checkpoint(checkpoint_folder, now(), stateful())[0].step == 7


def test_a_checkpoint_that_says_no_settings_is_refused(tmp_path):
    checkpoint_folder = tmp_path / "checkpoint"
    student_checkpoint.save_checkpoint(
        checkpoint_folder, student_checkpoint.StudentTrainState({}, step=7), stateful(), {}
    )
    with pytest.raises(UserError, match="does not say by which settings"):
        student_checkpoint.check(checkpoint_folder, now())


@pytest.fixture
def stopped(tmp_path):
    """A function: the recipe of a run that was stopped in its second epoch, but for changes."""
    faults.write_rows(tmp_path)
    told = together.stopping_recipe(tmp_path, "out")
    stopping.Stopping.checkpoint_folder = 1
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
    restored = shutil.copytree(out, tmp_path / "restored")
    capsys.readouterr()
    run(stopped(num_train_epochs=3, output_dir=str(restored), logging_steps=1), tmp_path)
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
    student_checkpoint.save_checkpoint(
        out / "fold-1/checkpoint", student_checkpoint.StudentTrainState(Run(said, tmp_path / "words.json").state.settings
        | {"seed": 5, student_checkpoint.DATA: "its own"}), stateful(), {},
    )  # fmt: skip
    before = faults.left(out)
    with pytest.raises(UserError, match=r"fold-1.* is of another run.*: seed: 5 then, 0 now"):
        run(said, tmp_path)
    assert faults.left(out) == before


@pytest.mark.parametrize("flag", ["--fresh", "--no-resume"])
def test_the_flag_of_the_hint_is_one_of_the_launcher(flag, monkeypatch):
    asked = []
    monkeypatch.setattr("gen_msa.distillation.__main__.start", lambda *a, **k: asked.append((a, k)))
    main(["--recipe", "text", flag])
    assert asked == [(("text", []), {"dry_run": False, "resume": False})]


def test_restored_row_memory_keeps_its_order(tmp_path):
    checkpoint_folder, memory = (
        tmp_path / "checkpoint",
        {f"z/{9 - i}": torch.full((2,), i) for i in range(9)},
    )
    student_checkpoint.save_checkpoint(
        checkpoint_folder, student_checkpoint.StudentTrainState(now()), stateful(memory), {}
    )
    restored = stateful({"other": torch.zeros(2)})
    student_checkpoint.restore_checkpoint(checkpoint_folder, now(), restored)
    assert list(restored.memory) == list(memory)
    assert all(torch.equal(restored.memory[k], v) for k, v in memory.items())
