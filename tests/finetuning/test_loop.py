"""Complete runs of a tiny model: resuming, stopping, saving, and equal bytes for an equal seed."""

import hashlib

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

from gen_msa.finetuning.loop import FinetuneRun, finetune
from tests.finetuning.run_recipes import (
    build_recipe,
    checkpoint_steps,
    read_log,
    run_interrupted,
    save_tiny_model,
)

DEV = [{"source": "tiny", "prompt": "predict/brief", "limit": 3}]
CURVE_FIELDS = ("step", "epoch", "loss", "loss_label", "learning_rate", "grad_norm")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "llama")


def adapter_hash(out):
    return hashlib.sha256((out / "adapter/adapter_model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("after", [1, 2, 4])
def test_resumed_run_is_bit_identical_to_uninterrupted(llama, tmp_path, after, capsys):
    overrides = {"lora_dropout": 0.2, "max_steps": 5, "weight_decay": 0.1}
    finetune(build_recipe(llama, tmp_path / "uninterrupted", **overrides))
    run_interrupted(build_recipe(llama, tmp_path / "cut", **overrides), after=after)
    assert checkpoint_steps(tmp_path / "cut") == list(range(1, after + 1))
    finetune(build_recipe(llama, tmp_path / "cut", **overrides))
    assert f"resuming from checkpoint-{after}" in capsys.readouterr().err
    assert read_log(tmp_path / "cut", *CURVE_FIELDS) == read_log(
        tmp_path / "uninterrupted", *CURVE_FIELDS
    )
    assert len(read_log(tmp_path / "cut", "step")) == 5
    assert adapter_hash(tmp_path / "cut") == adapter_hash(tmp_path / "uninterrupted")


def test_same_seed_gives_identical_adapters(llama, tmp_path):
    hashes = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        finetune(build_recipe(llama, tmp_path / name, seed=seed, lora_dropout=0.1))
        hashes[name] = adapter_hash(tmp_path / name)
    assert hashes["a"] == hashes["b"] != hashes["c"]


@pytest.mark.parametrize(
    "optimizations",
    [{"prefetch": 0}, {"answer_only_head": False}, {"prefix_packing": False}],
    ids=str,
)
def test_optimizations_do_not_change_the_loss(llama, tmp_path, optimizations):
    finetune(build_recipe(llama, tmp_path / "on"))
    finetune(build_recipe(llama, tmp_path / "off", optimizations=optimizations))
    default_loss, changed_loss = (
        read_log(tmp_path / "on", "loss"),
        read_log(tmp_path / "off", "loss"),
    )
    assert changed_loss == pytest.approx(default_loss, rel=1e-5)
    assert len(set(default_loss)) == 4
    if "prefetch" in optimizations:
        assert default_loss == changed_loss


def test_restarting_a_finished_run_changes_nothing(llama, tmp_path):
    finetune(build_recipe(llama, tmp_path))
    before = adapter_hash(tmp_path), read_log(tmp_path, *CURVE_FIELDS)
    finetune(build_recipe(llama, tmp_path))
    assert (adapter_hash(tmp_path), read_log(tmp_path, *CURVE_FIELDS)) == before


def test_save_total_limit_keeps_the_newest_checkpoints(llama, tmp_path):
    finetune(build_recipe(llama, tmp_path, save_total_limit=2))
    assert checkpoint_steps(tmp_path) == [3, 4]
    finetune(build_recipe(llama, tmp_path / "rare", save_steps=3))
    assert checkpoint_steps(tmp_path / "rare") == [3, 4]


def test_early_stopping_stops_and_stays_stopped(llama, tmp_path, capsys):
    early_stop_recipe = build_recipe(
        llama, tmp_path, dev=DEV, eval_steps=1, max_steps=6, early_stopping_patience=2,
        learning_rate=1e-6,
    )  # fmt: skip
    finetune(early_stop_recipe)
    assert "stopped at step 3: 2 evaluations without a better dev score" in capsys.readouterr().err
    assert read_log(tmp_path, "step") == [1, 2, 3]
    before = (tmp_path / "adapter/metrics.json").read_bytes()
    finetune(early_stop_recipe)
    assert "stopped at step 3" in capsys.readouterr().err
    assert read_log(tmp_path, "step") == [1, 2, 3]
    assert (tmp_path / "adapter/metrics.json").read_bytes() == before


def test_validation_does_not_change_training(llama, tmp_path):
    finetune(build_recipe(llama, tmp_path / "validated", dev=DEV, eval_steps=1, lora_dropout=0.2))
    finetune(build_recipe(llama, tmp_path / "plain", lora_dropout=0.2))
    assert read_log(tmp_path / "validated", *CURVE_FIELDS) == read_log(
        tmp_path / "plain", *CURVE_FIELDS
    )


@pytest.mark.parametrize(("epochs", "steps"), [(0.5, 2), (1, 3), (1.5, 5), (0.01, 1)])
def test_num_train_epochs_may_be_fractional(llama, tmp_path, epochs, steps):
    run = FinetuneRun(build_recipe(llama, tmp_path, limit=8, max_steps=-1, num_train_epochs=epochs))
    assert len(run.prepared.sequences) in (5, 6)
    assert run.sampler.epoch_steps == 3
    assert run.steps == steps


def test_dry_run_writes_nothing(llama, tmp_path):
    out = tmp_path / "out"
    finetune(build_recipe(llama, out), dry_run=True)
    assert not out.exists()


def test_each_step_draws_its_own_dropout_mask(llama, tmp_path):
    run = FinetuneRun(build_recipe(llama, tmp_path, lora_dropout=0.5))
    step = run.sampler.step_batches(next(run.sampler.remaining_steps(0)))
    run.train_step.optimizer.step = lambda: None
    run.train_step.scheduler.step = lambda: None
    with_b = [p for n, p in run.model.named_parameters() if "lora_B" in n]
    for weight in with_b:
        weight.data.fill_(0.1)
    losses = [run.train_step.run(step, number).loss for number in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]
