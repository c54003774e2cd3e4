"""Whole runs of a tiny model: going on, stopping, keeping, and the same bytes for the same seed."""

import hashlib

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

from gen_msa.finetuning.loop import Run, finetune
from tests.finetuning.running import base, checkpoints, interrupted, log, recipe

DEV = [{"source": "tiny", "prompt": "reader/brief", "limit": 3}]
CURVE = ("step", "epoch", "loss", "loss_label", "learning_rate", "grad_norm")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return base(tmp_path_factory.mktemp("models") / "llama")


def adapter_hash(out):
    return hashlib.sha256((out / "adapter/adapter_model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("after", [1, 2, 4])
def test_a_run_that_is_gone_on_from_is_bit_for_bit_the_uninterrupted_one(
    llama, tmp_path, after, capsys
):
    given = {"lora_dropout": 0.2, "max_steps": 5, "weight_decay": 0.1}
    finetune(recipe(llama, tmp_path / "whole", **given))
    interrupted(recipe(llama, tmp_path / "cut", **given), after=after)
    assert checkpoints(tmp_path / "cut") == list(range(1, after + 1))
    finetune(recipe(llama, tmp_path / "cut", **given))
    assert f"going on from checkpoint-{after}" in capsys.readouterr().err
    assert log(tmp_path / "cut", *CURVE) == log(tmp_path / "whole", *CURVE)
    assert len(log(tmp_path / "cut", "step")) == 5
    assert adapter_hash(tmp_path / "cut") == adapter_hash(tmp_path / "whole")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(llama, tmp_path):
    found = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        finetune(recipe(llama, tmp_path / name, seed=seed, lora_dropout=0.1))
        found[name] = adapter_hash(tmp_path / name)
    assert found["a"] == found["b"] != found["c"]


@pytest.mark.parametrize(
    "levers", [{"prefetch": 0}, {"labelled_head": False}, {"branches": False}], ids=str
)
def test_levers_change_no_step_of_a_run(llama, tmp_path, levers):
    finetune(recipe(llama, tmp_path / "on"))
    finetune(recipe(llama, tmp_path / "off", levers=levers))
    on, off = log(tmp_path / "on", "loss"), log(tmp_path / "off", "loss")
    assert off == pytest.approx(on, rel=1e-5)
    assert len(set(on)) == 4
    if "prefetch" in levers:
        assert on == off


def test_a_finished_run_that_is_started_again_changes_nothing(llama, tmp_path):
    finetune(recipe(llama, tmp_path))
    before = adapter_hash(tmp_path), log(tmp_path, *CURVE)
    finetune(recipe(llama, tmp_path))
    assert (adapter_hash(tmp_path), log(tmp_path, *CURVE)) == before


def test_only_the_newest_checkpoints_are_kept(llama, tmp_path):
    finetune(recipe(llama, tmp_path, save_total_limit=2))
    assert checkpoints(tmp_path) == [3, 4]
    finetune(recipe(llama, tmp_path / "rare", save_steps=3))
    assert checkpoints(tmp_path / "rare") == [3, 4]


def test_it_stops_when_the_dev_posts_get_no_better_and_stays_stopped(llama, tmp_path, capsys):
    said = recipe(
        llama, tmp_path, dev=DEV, eval_steps=1, max_steps=6, early_stopping_patience=2,
        learning_rate=1e-6,
    )  # fmt: skip
    finetune(said)
    assert "stopped at step 3: 2 judgements without a better dev score" in capsys.readouterr().err
    assert log(tmp_path, "step") == [1, 2, 3]
    before = (tmp_path / "adapter/figures.json").read_bytes()
    finetune(said)
    assert "stopped at step 3" in capsys.readouterr().err
    assert log(tmp_path, "step") == [1, 2, 3]
    assert (tmp_path / "adapter/figures.json").read_bytes() == before


def test_judging_in_between_changes_no_step(llama, tmp_path):
    finetune(recipe(llama, tmp_path / "judged", dev=DEV, eval_steps=1, lora_dropout=0.2))
    finetune(recipe(llama, tmp_path / "plain", lora_dropout=0.2))
    assert log(tmp_path / "judged", *CURVE) == log(tmp_path / "plain", *CURVE)


@pytest.mark.parametrize(("epochs", "steps"), [(0.5, 2), (1, 3), (1.5, 5), (0.01, 1)])
def test_epochs_may_be_fractions(llama, tmp_path, epochs, steps):
    run = Run(recipe(llama, tmp_path, limit=8, max_steps=-1, num_train_epochs=epochs))
    assert len(run.prepared.lines) in (5, 6)
    assert run.planner.epoch_steps == 3
    assert run.steps == steps


def test_a_dry_run_writes_nothing_at_all(llama, tmp_path):
    out = tmp_path / "out"
    finetune(recipe(llama, out), dry_run=True)
    assert not out.exists()


def test_each_step_draws_its_own_dropout(llama, tmp_path):
    run = Run(recipe(llama, tmp_path, lora_dropout=0.5))
    step = run.planner.batches(next(run.planner.left(0)))
    run.stepper.optimizer.step = lambda: None
    with_b = [p for n, p in run.model.named_parameters() if "lora_B" in n]
    for weight in with_b:
        weight.data.fill_(0.1)
    losses = [run.stepper.step(step, number).loss for number in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]
