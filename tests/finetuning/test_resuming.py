"""A run resumes only from a checkpoint of the same training; else it is rejected."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch

from gen_msa.errors import UserError
from gen_msa.finetuning.__main__ import main
from gen_msa.finetuning.loop import FinetuneRun, finetune
from tests.finetuning.run_recipes import (
    build_recipe,
    checkpoint_steps,
    read_log,
    run_interrupted,
    run_process,
    save_tiny_model,
    write_recipe,
)
from tests.training import test_fsdp

TINY = {"source": "tiny", "prompt": "predict/brief"}
CURVE_FIELDS = ("step", "loss", "grad_norm", "learning_rate")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def stopped_run(llama, tmp_path_factory):
    """Return the folder of a run that was stopped after two of its four steps."""
    folder = tmp_path_factory.mktemp("stopped") / "out"
    run_interrupted(build_recipe(llama, folder), after=2)
    return folder


@pytest.fixture
def out(stopped_run, tmp_path):
    """Return a copy of that folder."""
    return shutil.copytree(stopped_run, tmp_path / "out")


@pytest.fixture(scope="module")
def uninterrupted_curve(llama, tmp_path_factory):
    """Return the curve of the same run without interruption."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    finetune(build_recipe(llama, folder))
    return read_log(folder, *CURVE_FIELDS)


def file_hashes(folder):
    """Return the hash of every file."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {p.relative_to(folder): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def rejection(recipe):
    """Return the error of a run that does not start and has changed nothing."""
    before = file_hashes(folder := Path(recipe.output_dir))
    with pytest.raises(UserError) as error:
        finetune(recipe)
    assert file_hashes(folder) == before
    return error.value


def test_same_posts_per_step_in_other_batches_resume(llama, out, uninterrupted_curve, capsys):
    finetune(build_recipe(llama, out, per_device_train_batch_size=1, gradient_accumulation_steps=2))
    output = capsys.readouterr().err
    assert "resuming from checkpoint-2" in output
    assert "note: per_device_train_batch_size: 2 then, 1 now" in output
    assert "note: gradient_accumulation_steps: 1 then, 2 now" in output
    curve = read_log(out, *CURVE_FIELDS)
    assert len(curve) == len(uninterrupted_curve) == 4
    assert curve[:2] == uninterrupted_curve[:2]
    for row, expected in zip(curve[2:], uninterrupted_curve[2:], strict=True):
        assert row == pytest.approx(expected, rel=1e-5)


INCOMPATIBLE = [
    ({"learning_rate": 0.02}, "learning_rate: 0.01 then, 0.02 now"),
    ({"seed": 1}, "seed: 0 then, 1 now"),
    ({"lora_rank": 8}, "lora_rank: 4 then, 8 now"),
    ({"loss": {"label": 2.0}}, "loss.label: 1.0 then, 2.0 now"),
    ({"limit": 8}, "data.0.limit: 6 then, 8 now"),
    ({"dev": [{**TINY, "limit": 1}]}, "dev.0.source: not set then, tiny now"),
    ({"max_steps": 3}, "steps: 4 then, 3 now (max_steps, num_train_epochs)"),
    ({"gradient_accumulation_steps": 2}, "gradient_accumulation_steps: 1 then, 2 now"),
    ({"per_device_train_batch_size": 1}, "per_device_train_batch_size: 2 then, 1 now"),
]


@pytest.mark.parametrize(
    ("overrides", "difference"), INCOMPATIBLE, ids=[next(iter(o)) for o, _ in INCOMPATIBLE]
)
def test_incompatible_run_is_rejected_before_any_write(llama, out, overrides, difference):
    problem = rejection(build_recipe(llama, out, **overrides))
    assert f"{out / 'checkpoint-2'} belongs to another run" in problem.problem
    assert difference in problem.problem
    assert "output_dir" in problem.hint
    assert "--no-resume" in problem.hint
    assert "learning_rate" in overrides or "learning_rate" not in problem.problem


def test_hint_names_the_accumulation_that_keeps_posts_per_step(llama, out):
    error = rejection(build_recipe(llama, out, per_device_train_batch_size=1))
    assert error.hint.startswith("gradient_accumulation_steps=2 keeps 2 posts a step; or choose")
    error = rejection(build_recipe(llama, out, per_device_train_batch_size=4))
    assert "gradient_accumulation_steps=" not in error.hint


def test_changed_data_file_is_incompatible(llama, tmp_path):
    file = tmp_path / "posts.jsonl"
    post = {"text": "Great screen", "aspects": [{"term": "screen", "polarity": "positive"}]}
    file.write_text(json.dumps(post) + "\n")
    recipe = build_recipe(
        llama,
        tmp_path / "out",
        data=[{"source": str(file), "prompt": "predict/brief"}],
        max_steps=2,
    )
    run_interrupted(recipe, after=1)
    file.write_text(json.dumps(post | {"text": "Great, great screen"}) + "\n")
    assert "data (sha256): " in rejection(recipe).problem


def test_longer_run_resumes_with_its_own_schedule(llama, tmp_path, uninterrupted_curve, capsys):
    overrides = {"dev": [{**TINY, "limit": 2}], "eval_steps": 1}
    finetune(build_recipe(llama, tmp_path / "uninterrupted", **overrides))
    full_curve = read_log(tmp_path / "uninterrupted", *CURVE_FIELDS)
    finetune(build_recipe(llama, tmp_path / "out", max_steps=2, **overrides))
    before = read_log(tmp_path / "out", *CURVE_FIELDS)
    capsys.readouterr()
    finetune(build_recipe(llama, tmp_path / "out", **overrides))
    output = capsys.readouterr().err
    assert "resuming from checkpoint-2" in output
    assert "note: steps: 2 then, 4 now" in output
    curve = read_log(tmp_path / "out", *CURVE_FIELDS)
    assert curve[:2] == before
    assert [f[0] for f in curve] == [1, 2, 3, 4]
    assert [f[3] for f in curve[2:]] == [w[3] for w in full_curve[2:]]
    # The longer run also validates the last step of the shorter one and keeps the best of all.
    train_state = json.loads((tmp_path / "out/checkpoint-4/state.json").read_text())["train_state"]
    assert [h["step"] for h in train_state["history"]] == [1, 2, 3]


def test_first_step_of_longer_run_has_the_rate_of_its_schedule(llama, tmp_path):
    finetune(build_recipe(llama, tmp_path, max_steps=2))
    run = FinetuneRun(build_recipe(llama, tmp_path))
    run.resume()
    (rate,) = {g["lr"] for g in run.train_step.optimizer.param_groups}
    # One step of warm-up; linear from the first to the fourth.
    assert rate == pytest.approx(0.01 * 2 / 3)


def test_more_epochs_resume(llama, tmp_path):
    finetune(build_recipe(llama, tmp_path, max_steps=-1, num_train_epochs=1))
    assert read_log(tmp_path, "step") == [1, 2]
    finetune(build_recipe(llama, tmp_path, max_steps=-1, num_train_epochs=2))
    assert read_log(tmp_path, "step") == [1, 2, 3, 4]


def test_settings_that_change_no_weight_may_differ_silently(
    llama, out, uninterrupted_curve, capsys
):
    overrides = {
        "logging_steps": 1, "save_total_limit": 1, "save_steps": 2, "eval_steps": 3,
        "early_stopping_patience": 2, "optimizations": {"prefetch": 0}, "device": "auto",
    }  # fmt: skip
    finetune(build_recipe(llama, out, **overrides))
    output = capsys.readouterr().err
    assert "resuming from checkpoint-2" in output
    assert " then, " not in output
    assert checkpoint_steps(out) == [4]
    assert read_log(out, *CURVE_FIELDS) == uninterrupted_curve


def test_checkpoint_without_settings_is_rejected(llama, out):
    state = out / "checkpoint-1/state.json"
    content = json.loads(state.read_text())
    del content["train_state"]["settings"]
    state.write_text(json.dumps(content))
    problem = rejection(build_recipe(llama, out)).problem
    assert f"{out / 'checkpoint-1'} belongs to another run" in problem
    assert "does not record the settings" in problem


def test_new_run_replaces_other_checkpoints_with_its_first(llama, out, capsys):
    other = build_recipe(llama, out, learning_rate=0.02, resume=False)
    run_interrupted(other.model_copy(update={"save_steps": 2}), after=1)
    assert checkpoint_steps(out) == [1, 2]
    output = capsys.readouterr().err
    assert "starts over; its first checkpoint replaces checkpoint-1, checkpoint-2" in output
    run_interrupted(other, after=1)
    assert checkpoint_steps(out) == [1]
    assert read_log(out, "step") == [1]
    # The new run resumes like any other.
    finetune(other.model_copy(update={"resume": True}))
    assert "resuming from checkpoint-1" in capsys.readouterr().err
    assert checkpoint_steps(out) == [1, 2, 3, 4]


@pytest.mark.parametrize("flag", ["--no-resume"])
def test_launcher_accepts_the_flag_of_the_hint(llama, out, tmp_path, flag):
    file = write_recipe(build_recipe(llama, out, learning_rate=0.02), tmp_path / "other.yaml")
    with pytest.raises(SystemExit) as exit_info:
        main(["--recipe", str(file)])
    assert exit_info.value.code == 2
    main(["--recipe", str(file), flag])
    assert read_log(out, "step") == [1, 2, 3, 4]


@pytest.fixture(scope="module")
def two_process_run(llama, tmp_path_factory):
    """Return the folder of a finished run of two processes, one post each per step."""
    folder = tmp_path_factory.mktemp("two-processes")
    recipe = build_recipe(llama, folder / "out", per_device_train_batch_size=1)
    process = run_process(
        "-m",
        "gen_msa.finetuning",
        "--recipe",
        write_recipe(recipe, folder / "two-processes.yaml"),
        processes=2,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    return folder / "out"


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="no gloo here")
class TestSeveralProcesses:
    """A run is stopped and resumed with another number of processes."""

    @staticmethod
    def resume_curve(recipe, folder, processes, **environment):
        """Return the first step of a run resumed from its second checkpoint, and its curve."""
        file = write_recipe(recipe, folder / "again.yaml")
        process = run_process(
            "-m", "tests.finetuning.run_recipes", folder, f"{file}@2", processes=processes,
            **environment,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr[-4000:]
        (summary,) = json.loads((folder / "summary-0.json").read_text())
        assert summary["processes"] == processes
        return summary["first_step"], [tuple(step) for step in summary["curve"]]

    @pytest.mark.parametrize("size", [1, 2])
    def test_one_process_resumes_from_two(self, llama, two_process_run, tmp_path, size):
        out = shutil.copytree(two_process_run, tmp_path / "out")
        recipe = build_recipe(
            llama, out, per_device_train_batch_size=size, gradient_accumulation_steps=2 // size
        )
        first_step, curve = self.resume_curve(recipe, tmp_path, 1)
        assert first_step == 2
        for row, expected in zip(
            curve, read_log(two_process_run, "step", "loss", "grad_norm"), strict=True
        ):
            assert row == pytest.approx(expected, rel=1e-5)

    def test_one_process_with_half_the_posts_per_step_is_rejected(
        self, llama, two_process_run, tmp_path
    ):
        out = shutil.copytree(two_process_run, tmp_path / "out")
        error = rejection(build_recipe(llama, out, per_device_train_batch_size=1))
        assert "processes: 2 then, 1 now" in error.problem
        assert "per_device_train_batch_size" not in error.problem
        assert error.hint.startswith("gradient_accumulation_steps=2 keeps 2 posts a step; or ")

    @pytest.mark.parametrize("sharded", [False, True])
    def test_two_processes_resume_from_one_replicated_or_sharded(
        self, llama, stopped_run, uninterrupted_curve, tmp_path, sharded
    ):
        out = shutil.copytree(stopped_run, tmp_path / "out")
        recipe = build_recipe(llama, out, per_device_train_batch_size=1)
        first_step, curve = self.resume_curve(
            recipe, tmp_path, 2, **(test_fsdp.fsdp_environment() if sharded else {})
        )
        assert first_step == 2
        for row, expected in zip(curve, uninterrupted_curve, strict=True):
            assert row == pytest.approx(expected[:3], rel=1e-4)
