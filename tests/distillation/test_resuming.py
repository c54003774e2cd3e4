"""Killed at twenty points, a run resumes and leaves the bytes of one that was never stopped."""

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
from gen_msa.distillation.loop import DistillRun, distill  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from gen_msa.training import checkpoint  # noqa: E402
from gen_msa.training.checkpoint import Stateful, TrainState  # noqa: E402
from tests.distillation import fault_injection, multi_process  # noqa: E402
from tests.distillation.fake_models import crashing  # noqa: E402

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
    assert {"log.jsonl", "student/model.safetensors", "student/metrics.json"} < set(undisturbed)
    for run in runs[1:]:
        assert run["files"] == undisturbed, f"killed at touch {run['point']}"


def test_most_runs_resume_from_a_checkpoint(runs):
    assert sum(r["is_resumed"] for r in runs[1:]) >= N_POINTS // 2


@pytest.mark.parametrize("student", ["self_mm", "two_optimizers", "two_stage"])
def test_row_memory_and_phase_optimizers_resume_identically(tmp_path, student):
    undisturbed, *killed_runs = run_killed(tmp_path, 3, student)
    assert any(r["is_resumed"] for r in killed_runs)
    for run in killed_runs:
        assert (run["code"], run["resumed_code"]) == (-signal.SIGKILL, 0)
        assert run["files"] == undisturbed["files"], f"killed at touch {run['point']}"


@pytest.fixture
def crashed(tmp_path):
    """A function: the recipe of a run that crashed in its second epoch, but for changes."""
    fault_injection.write_data(tmp_path)
    recipe = multi_process.crashing_recipe(tmp_path, "out")
    crashing.CrashingSelfMm.crash_epoch = 1
    with pytest.raises(crashing.Interrupted):
        distill(recipe, tokenizer=tmp_path / "words.json")
    return lambda **changes: recipe.model_copy(update=changes)


def test_runs_refuse_resume_and_start_over(crashed, tmp_path, capsys):
    out, tokenizer = tmp_path / "out", tmp_path / "words.json"
    before = fault_injection.run_files(out)
    assert any("checkpoint/" in name for name in before)
    with pytest.raises(UserError, match=r"learning_rate: 0\.01 then, 0\.02 now") as caught:
        distill(crashed(learning_rate=0.02), tokenizer=tokenizer)
    assert "seed" not in caught.value.problem
    with pytest.raises(UserError, match=r"steps: \d+ then, \d+ now \(num_train_epochs\)"):
        distill(crashed(num_train_epochs=1), tokenizer=tokenizer)
    assert fault_injection.run_files(out) == before
    copied = shutil.copytree(out, tmp_path / "copied")
    capsys.readouterr()
    longer = crashed(num_train_epochs=3, output_dir=str(copied), logging_steps=1)
    distill(longer, tokenizer=tokenizer)
    output = capsys.readouterr().err
    assert "resuming from checkpoint, step " in output
    assert "note: steps: " in output
    distill(crashed(learning_rate=0.02, resume=False), tokenizer=tokenizer)
    output = capsys.readouterr().err
    assert f"starts over; its first checkpoint replaces {out / 'checkpoint'}" in output
    assert "resuming" not in output
    assert not (out / "checkpoint").exists()
    saved_recipe = (out / "student/recipe.yaml").read_text("utf-8")
    assert "learning_rate: 0.02" in saved_recipe
    assert "resume" not in saved_recipe


def test_damaged_checkpoint_is_trained_again_to_the_same_bytes(crashed, tmp_path, capsys):
    tokenizer, folder = tmp_path / "words.json", tmp_path / "out/checkpoint"
    resumed = shutil.copytree(tmp_path / "out", tmp_path / "resumed/out")
    with (folder / "model.safetensors").open("r+b") as f:
        f.seek(-1, 2)
        f.write(b"\xff")
    capsys.readouterr()
    distill(crashed(), tokenizer=tokenizer)
    assert "resuming" not in capsys.readouterr().err
    distill(crashed(output_dir=str(resumed)), tokenizer=tokenizer)
    assert fault_injection.run_files(tmp_path / "out") == fault_injection.run_files(resumed)


def test_fold_checkpoint_of_another_run_is_refused_before_training(crashed, tmp_path):
    out = tmp_path / "folds"
    recipe = crashed(output_dir=str(out), cross_fit_folds=2)
    settings = DistillRun(recipe, tmp_path / "words.json").state.settings
    other = TrainState(settings=settings | {"seed": 5, "data (sha256)": "a share of the rows"})
    checkpoint.save_checkpoint(
        out / "fold-1/checkpoint", other, Stateful(torch.nn.Linear(2, 2), [])
    )
    before = fault_injection.run_files(out)
    with pytest.raises(UserError, match=r"fold-1.* belongs to another run.*: seed: 5 then, 0 now"):
        distill(recipe, tokenizer=tmp_path / "words.json")
    assert fault_injection.run_files(out) == before


def test_no_resume_is_an_option_of_the_launcher(monkeypatch):
    calls = []
    monkeypatch.setattr("gen_msa.distillation.__main__.start", lambda *a, **k: calls.append((a, k)))
    main(["--recipe", "text", "--no-resume"])
    assert calls == [(("text", []), {"dry_run": False, "resume": False})]
