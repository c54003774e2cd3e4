"""Kills, full disks, broken checkpoints, numbers that are none: what is kept and what is said."""

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
from gen_msa.finetuning import checkpoints
from gen_msa.finetuning.loop import Run, finetune
from tests.finetuning.running import ROOT, SPEAKS, base, log, recipe, weights, written

CURVE = ("step", "loss", "grad_norm")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return base(tmp_path_factory.mktemp("models") / "llama")


def faults(kind, points, llama, folder):
    """What the undisturbed run left, and for each fault how it ended and how it went on."""
    file = written(recipe(llama, folder / "x", limit=4, eval_steps=2), folder / "recipe.yaml")
    ran = subprocess.run(
        [sys.executable, "-m", "tests.finetuning.faults", kind, file, folder, str(points)],
        cwd=ROOT,
        env={**os.environ, **SPEAKS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    plain, *found = map(json.loads, ran.stdout.splitlines())
    return plain["now"], found


def went_on_as_if_nothing_had_been(plain, fault):
    newest = max(fault["now"]["whole"], default=None)
    going_on = f"going on from {newest}" in fault["words"]
    return (
        fault["again"] == 0
        and going_on == (newest is not None)
        and fault["after"]["curve"] == plain["curve"]
        and fault["after"]["adapter"] == plain["adapter"]
        and fault["after"]["drafts"] == []
    )


@needs_fork
@pytest.mark.slow
def test_20_kills_while_a_checkpoint_is_written_lose_nothing_bit_for_bit(llama, tmp_path):
    plain, found = faults("killed", 20, llama, tmp_path)
    assert len(found) == 20
    assert {f["code"] for f in found} == {-9}
    for fault in found:
        assert fault["now"]["broken"] == []
        assert fault["now"]["adapter_whole"] == bool(fault["now"]["adapter"])
        assert went_on_as_if_nothing_had_been(plain, fault)
    # The kills fell into every checkpoint, and into drafts that were half written.
    assert {len(f["now"]["whole"]) for f in found} == {0, 1, 2, 3, 4}
    assert sum(bool(f["now"]["drafts"]) for f in found) >= 10


@needs_fork
@pytest.mark.slow
def test_a_disk_that_fills_up_at_20_writes_is_said_and_costs_nothing(llama, tmp_path):
    plain, found = faults("filled", 20, llama, tmp_path)
    assert len(found) == 20
    stages = set()
    for fault in found:
        assert fault["code"] == 2
        assert "Traceback" not in fault["said"]
        problem = fault["said"].rpartition("UserError: ")[2]
        assert "cannot be written" in problem
        assert "No space left on device" in problem
        assert "mend: " in problem
        stages.add(
            next(s for s in ("checkpoint", "adapter", "log.jsonl", "output_dir") if s in problem)
        )
        now = fault["now"]
        assert now["broken"] == now["drafts"] == []
        assert now["adapter_whole"] == bool(now["adapter"])
        assert now["adapter"] or len(now["curve"]) <= 2
        assert went_on_as_if_nothing_had_been(plain, fault)
    assert stages >= {"checkpoint", "adapter"}


@needs_fork
@pytest.mark.slow
def test_a_limit_on_a_files_size_stops_the_tensors_cleanly_too(llama, tmp_path):
    plain, found = faults("limited", 8, llama, tmp_path)
    stopped = [f for f in found if f["code"]]
    assert len(stopped) >= 4
    for fault in stopped:
        assert fault["code"] == 2
        assert "Traceback" not in fault["said"]
        assert "File too large" in fault["said"]
        assert fault["now"]["broken"] == []
    assert all(went_on_as_if_nothing_had_been(plain, f) for f in found)


def test_an_output_dir_that_takes_no_files_is_said_before_the_model_is_opened(llama, tmp_path):
    (tmp_path / "file").write_text("in the way")
    said = recipe(tmp_path / "no-model-here", tmp_path / "file" / "out")
    with pytest.raises(UserError, match=r"output_dir .* cannot be written to: Not a directory"):
        finetune(said)


@pytest.mark.parametrize("damage", ["cut", "altered", "missing", "no manifest", "no facts"])
def test_a_broken_newest_checkpoint_falls_back_to_the_last_whole_one(
    llama, tmp_path, damage, capsys
):
    finetune(recipe(llama, tmp_path))
    before = log(tmp_path, *CURVE)
    newest = tmp_path / "checkpoint-4"
    tensors, facts = newest / "trained.safetensors", newest / "state.json"
    content = tensors.read_bytes()
    if damage == "no manifest":
        (newest / manifest.NAME).unlink()
    elif damage == "no facts":
        facts.unlink()
    elif damage == "missing":
        tensors.unlink()
    else:
        cut = content[:-9] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1])
        tensors.write_bytes(cut)
    capsys.readouterr()
    finetune(recipe(llama, tmp_path))
    said = capsys.readouterr().err
    assert "passed over checkpoint-4: not whole" in said
    assert "going on from checkpoint-3" in said
    assert log(tmp_path, *CURVE) == before
    assert manifest.whole(newest)


def test_a_checkpoint_of_other_tensors_is_refused_by_name(llama, tmp_path):
    run = Run(recipe(llama, tmp_path))
    run._save()
    other = Run(recipe(llama, tmp_path / "other", lora_target=["q_proj"]))
    with pytest.raises(UserError, match=r"made by another recipe: it differs in .*lora_A"):
        checkpoints.restore(
            tmp_path / "checkpoint-0", other.model, other.stepper.optimizer, other.stepper.scheduler
        )


def spoil(run, *, what, value, at):
    """The loss or the gradient of the `at`-th forward pass in training from now on is `value`."""
    passes = itertools.count(1)
    now = {"spoilt": False}

    def head(module, args, output):
        now["spoilt"] = module.training and next(passes) == at
        return output * value if now["spoilt"] and what == "loss" else output

    def back(gradient):
        return gradient * value if now["spoilt"] and what == "gradient" else gradient

    run.model.get_output_embeddings().register_forward_hook(head)
    weight = [p for n, p in run.model.named_parameters() if "lora_B" in n][1]
    weight.register_hook(back)


@pytest.mark.parametrize("at", [1, 3, 4])
@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_number_that_is_none_stops_the_run_before_it_changes_anything(
    llama, tmp_path, what, value, at
):
    run = Run(recipe(llama, tmp_path, max_steps=4))
    run.probe()
    spoil(run, what=what, value=value, at=at)
    before = {}
    real = run.stepper.step

    def step(batches, number):
        before[number] = weights(run), [n for b in batches for n in b.names]
        return real(batches, number)

    run.stepper.step = step
    run.resume()
    with pytest.raises(Diverged, match=f"the {what} is not a finite number") as raised:
        run.train()
    assert raised.value.exit_code == 4
    assert max(before) == at - 1
    then, names = before[at - 1]
    assert names
    assert all(name in str(raised.value) for name in names)
    now = weights(run)
    assert all(torch.equal(now[n], then[n]) for n in then)
    assert all(bool(torch.isfinite(t).all()) for t in now.values())
    kept = sorted(p.name for p in tmp_path.glob("checkpoint-*"))
    assert kept == [f"checkpoint-{i}" for i in range(1, at)]
    assert all(manifest.whole(tmp_path / name) for name in kept)
    state = run.stepper.optimizer.state_dict()["state"].values()
    assert all(bool(torch.isfinite(t).all()) for facts in state for t in facts.values())


def test_a_longest_batch_that_diverges_is_told_before_anything_is_written(llama, tmp_path):
    run = Run(recipe(llama, tmp_path / "out"))
    spoil(run, what="loss", value=float("nan"), at=1)
    with pytest.raises(Diverged):
        run.probe()
    assert not (tmp_path / "out").exists()
