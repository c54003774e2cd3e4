"""Kills, full disks, damaged checkpoints, non-finite values: nothing is lost."""

import itertools
import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch

from gen_msa import manifest
from gen_msa.errors import Diverged, UserError
from gen_msa.finetuning.loop import FinetuneRun, finetune
from gen_msa.training import checkpoint
from tests.finetuning.run_recipes import (
    ROOT,
    SUBPROCESS_ENV,
    build_recipe,
    read_log,
    save_tiny_model,
    trained_weights,
    write_recipe,
)

CURVE_FIELDS = ("step", "loss", "grad_norm")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "llama")


def run_faults(fault_kind, n_points, llama, folder):
    """The state after a run without faults, and the outcome of each fault."""
    file = write_recipe(
        build_recipe(llama, folder / "x", limit=4, eval_steps=2), folder / "recipe.yaml"
    )
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.finetuning.fault_injection",
            fault_kind,
            file,
            folder,
            str(n_points),
        ],
        cwd=ROOT,
        env={**os.environ, **SUBPROCESS_ENV},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    undisturbed, *outcomes = map(json.loads, process.stdout.splitlines())
    return undisturbed["state"], outcomes


def resumed_identically(undisturbed, fault):
    newest = max(fault["state"]["complete"], default=None)
    is_resumed = f"resuming from {newest}" in fault["resumed_output"]
    return (
        fault["resumed_code"] == 0
        and is_resumed == (newest is not None)
        and fault["resumed_state"]["curve"] == undisturbed["curve"]
        and fault["resumed_state"]["adapter"] == undisturbed["adapter"]
        and fault["resumed_state"]["staging_folders"] == []
    )


@needs_fork
@pytest.mark.slow
def test_kills_during_checkpoint_writes_lose_nothing(llama, tmp_path):
    undisturbed, outcomes = run_faults("kill", 20, llama, tmp_path)
    assert len(outcomes) == 20
    assert {f["code"] for f in outcomes} == {-9}
    for fault in outcomes:
        assert fault["state"]["incomplete"] == []
        assert fault["state"]["adapter_complete"] == bool(fault["state"]["adapter"])
        assert resumed_identically(undisturbed, fault)
    # The kills hit every checkpoint, and staging folders that were incomplete.
    assert {len(f["state"]["complete"]) for f in outcomes} == {0, 1, 2, 3, 4}
    assert sum(bool(f["state"]["staging_folders"]) for f in outcomes) >= 10


@needs_fork
@pytest.mark.slow
def test_full_disk_is_reported_and_loses_nothing(llama, tmp_path):
    undisturbed, outcomes = run_faults("full_disk", 20, llama, tmp_path)
    assert len(outcomes) == 20
    failed_stages = set()
    for fault in outcomes:
        assert fault["code"] == 2
        assert "Traceback" not in fault["output"]
        error_text = fault["output"].rpartition("UserError: ")[2]
        assert "cannot be written" in error_text
        assert "No space left on device" in error_text
        assert "hint: " in error_text
        failed_stages.add(
            next(s for s in ("checkpoint", "adapter", "log.jsonl", "output_dir") if s in error_text)
        )
        state_ = fault["state"]
        assert state_["incomplete"] == state_["staging_folders"] == []
        assert state_["adapter_complete"] == bool(state_["adapter"])
        assert state_["adapter"] or len(state_["curve"]) <= 2
        assert resumed_identically(undisturbed, fault)
    assert failed_stages >= {"checkpoint", "adapter"}


@needs_fork
@pytest.mark.slow
def test_file_size_limit_stops_tensor_writes_cleanly(llama, tmp_path):
    undisturbed, outcomes = run_faults("file_size_limit", 8, llama, tmp_path)
    stopped = [f for f in outcomes if f["code"]]
    assert len(stopped) >= 4
    for fault in stopped:
        assert fault["code"] == 2
        assert "Traceback" not in fault["output"]
        assert "File too large" in fault["output"]
        assert fault["state"]["incomplete"] == []
    assert all(resumed_identically(undisturbed, f) for f in outcomes)


def test_unwritable_output_dir_is_reported_before_loading(llama, tmp_path):
    (tmp_path / "file").write_text("in the way")
    invalid_recipe = build_recipe(tmp_path / "no-model-here", tmp_path / "file" / "out")
    with pytest.raises(UserError, match=r"out cannot be written to: Not a directory"):
        finetune(invalid_recipe)


@pytest.mark.parametrize("damage", ["cut", "altered", "missing", "no manifest", "no state"])
def test_damaged_checkpoint_falls_back_to_the_previous_one(llama, tmp_path, damage, capsys):
    finetune(build_recipe(llama, tmp_path))
    before = read_log(tmp_path, *CURVE_FIELDS)
    newest = tmp_path / "checkpoint-4"
    tensors, state_file = newest / "model.safetensors", newest / "state.json"
    content = tensors.read_bytes()
    if damage == "no manifest":
        (newest / manifest.MANIFEST_NAME).unlink()
    elif damage == "no state":
        state_file.unlink()
    elif damage == "missing":
        tensors.unlink()
    else:
        damaged = content[:-9] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1])
        tensors.write_bytes(damaged)
    capsys.readouterr()
    finetune(build_recipe(llama, tmp_path))
    output = capsys.readouterr().err
    assert "skipped checkpoint-4: not complete" in output
    assert "resuming from checkpoint-3" in output
    assert read_log(tmp_path, *CURVE_FIELDS) == before
    assert manifest.is_intact(newest)


def test_checkpoint_with_other_tensors_is_rejected_by_name(llama, tmp_path):
    run = FinetuneRun(build_recipe(llama, tmp_path))
    run._save_checkpoint()
    other = FinetuneRun(build_recipe(llama, tmp_path / "other", lora_target=["q_proj"]))
    with pytest.raises(UserError, match=r"made by another recipe: it differs in .*lora_A"):
        checkpoint.restore_checkpoint(tmp_path / "checkpoint-0", other._stateful)


def inject_value(run, *, target, value, pass_number):
    """Multiply the loss or gradient of the `pass_number`-th training pass by `value`."""
    passes = itertools.count(1)
    flags = {"is_injected": False}

    def output_hook(module, args, output):
        flags["is_injected"] = module.training and next(passes) == pass_number
        return output * value if flags["is_injected"] and target == "loss" else output

    def gradient_hook(gradient):
        return gradient * value if flags["is_injected"] and target == "gradient" else gradient

    run.model.get_output_embeddings().register_forward_hook(output_hook)
    weight = [p for n, p in run.model.named_parameters() if "lora_B" in n][1]
    weight.register_hook(gradient_hook)


@pytest.mark.parametrize("pass_number", [1, 3, 4])
@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
@pytest.mark.parametrize("target", ["loss", "gradient"])
def test_non_finite_value_stops_before_any_update(llama, tmp_path, target, value, pass_number):
    run = FinetuneRun(build_recipe(llama, tmp_path, max_steps=4))
    run.probe()
    inject_value(run, target=target, value=value, pass_number=pass_number)
    before = {}
    original_step = run.train_step.run

    def step(batches, number):
        before[number] = trained_weights(run), [n for b in batches for n in b.names]
        return original_step(batches, number)

    run.train_step.run = step
    run.resume()
    with pytest.raises(Diverged, match=f"the {target} is not a finite number") as error:
        run.train()
    assert error.value.exit_code == 4
    assert max(before) == pass_number - 1
    weights_before, names = before[pass_number - 1]
    assert names
    assert all(name in str(error.value) for name in names)
    weights_after = trained_weights(run)
    assert all(torch.equal(weights_after[n], weights_before[n]) for n in weights_before)
    assert all(bool(torch.isfinite(t).all()) for t in weights_after.values())
    checkpoint_names = sorted(p.name for p in tmp_path.glob("checkpoint-*"))
    assert checkpoint_names == [f"checkpoint-{i}" for i in range(1, pass_number)]
    assert all(manifest.is_intact(tmp_path / name) for name in checkpoint_names)
    state = run.train_step.optimizer.state_dict()["state"].values()
    assert all(bool(torch.isfinite(t).all()) for param_state in state for t in param_state.values())


def test_probe_reports_divergence_before_writing(llama, tmp_path):
    run = FinetuneRun(build_recipe(llama, tmp_path / "out"))
    inject_value(run, target="loss", value=float("nan"), pass_number=1)
    with pytest.raises(Diverged):
        run.probe()
    assert not (tmp_path / "out").exists()
