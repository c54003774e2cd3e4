"""Checkpoints of both loops: restored exactly, skipped when damaged, refused from another run."""

import json

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from gen_msa import manifest  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from gen_msa.training import checkpoint  # noqa: E402
from gen_msa.training.checkpoint import (  # noqa: E402
    ResumePolicy,
    Stateful,
    TrainState,
)

POLICY = ResumePolicy(may_differ=("processes", "device", "torch"))


def build_stateful(memory=None, steps=None):
    """A small layer with two optimisers; `steps`: over which their rates fall, None: never."""
    module, optimizers = torch.nn.Linear(2, 2), []
    for rate in (0.1, 0.2):
        optimizer = torch.optim.AdamW(module.parameters(), lr=rate)
        module(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        schedule = (lambda _: 1.0) if steps is None else (lambda n, steps=steps: 1 - n / steps)
        optimizers.append((optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)))
    return Stateful(module, optimizers, memory=memory or {})


def settings(**changes):
    return {"seed": 0, "torch": "2", "device": "cpu", "processes": 1, "steps": 9, **changes}


@pytest.fixture
def saved(tmp_path):
    """A checkpoint of step 7, its state and what was saved."""
    folder, stateful = tmp_path / "checkpoint-7", build_stateful()
    state = TrainState(step=7, settings=settings())
    state.record_validation({"step": 7}, 0.5)
    checkpoint.save_checkpoint(folder, state, stateful, {"torch": torch.arange(4)})
    return folder, state, stateful


def test_checkpoint_restores_everything_that_was_saved(saved):
    folder, state, stateful = saved
    other = build_stateful()
    restored_state, rng_states = checkpoint.restore_checkpoint(folder, other)
    assert restored_state == state
    assert torch.equal(rng_states["torch"], torch.arange(4))
    for name, tensor in stateful.module.state_dict().items():
        assert torch.equal(other.module.state_dict()[name], tensor)
    for (optimizer, _), (other_optimizer, _) in zip(
        stateful.optimizers, other.optimizers, strict=True
    ):
        state_then, state_now = optimizer.state_dict(), other_optimizer.state_dict()
        # JSON turns tuples into lists.
        groups_then, groups_now = (
            json.loads(json.dumps(s["param_groups"])) for s in (state_then, state_now)
        )
        assert groups_now == groups_then
        for number, values in state_then["state"].items():
            for name, value in values.items():
                assert torch.equal(state_now["state"][number][name], value)


def test_trained_parameters_alone_are_saved_and_restored(tmp_path):
    stateful = build_stateful()
    stateful.module.bias.requires_grad_(False)
    trained = Stateful(stateful.module, stateful.optimizers, trainable_only=True)
    checkpoint.save_checkpoint(tmp_path / "checkpoint-1", TrainState(step=1), trained)
    weight, bias = stateful.module.weight.detach().clone(), stateful.module.bias.clone()
    with torch.no_grad():
        stateful.module.weight.zero_()
        stateful.module.bias.zero_()
    assert checkpoint.restore_checkpoint(tmp_path / "checkpoint-1", trained)[1] == {}
    assert torch.equal(stateful.module.weight, weight)
    assert not torch.equal(stateful.module.bias, bias)


def test_tied_tensors_are_saved_and_restored(tmp_path):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(3, 2)
            self.head = torch.nn.Linear(2, 3, bias=False)
            self.head.weight = self.embedding.weight

    module = Tied()
    expected = module.head.weight.detach().clone()
    checkpoint.save_checkpoint(tmp_path / "checkpoint-1", TrainState(), Stateful(module, []))
    with torch.no_grad():
        module.head.weight.zero_()
    checkpoint.restore_checkpoint(tmp_path / "checkpoint-1", Stateful(module, []))
    assert torch.equal(module.embedding.weight, expected)


def test_checkpoint_of_other_tensors_is_rejected_by_name(saved):
    folder, *_ = saved
    with pytest.raises(UserError, match="made by another recipe: it differs in bias"):
        checkpoint.restore_checkpoint(folder, Stateful(torch.nn.Linear(2, 2, bias=False), []))


def test_damaged_checkpoint_is_skipped_for_the_one_before(saved):
    folder, state, stateful = saved
    newest = folder.with_name("checkpoint-8")
    state.step = 8
    checkpoint.save_checkpoint(newest, state, stateful)
    find = (folder.parent, settings(), POLICY)
    assert checkpoint.latest_checkpoint(*find) == (newest, [])
    with (newest / "model.safetensors").open("r+b") as f:
        f.seek(-1, 2)
        f.write(b"\xff")
    assert checkpoint.latest_checkpoint(*find) == (folder, ["checkpoint-8: not complete"])
    checkpoint.delete_checkpoint(folder)
    assert checkpoint.latest_checkpoint(*find) == (None, ["checkpoint-8: not complete"])


def test_pruning_keeps_the_newest_of_this_run_only(saved):
    folder, state, stateful = saved
    for step, seed in ((5, 0), (6, 1), (8, 0)):
        other = TrainState(step=step, settings=settings(seed=seed))
        checkpoint.save_checkpoint(folder.with_name(f"checkpoint-{step}"), other, stateful)
    checkpoint.prune_checkpoints(folder.parent, 2, state, POLICY)
    assert checkpoint.checkpoint_names(folder.parent) == ["checkpoint-5", "checkpoint-7"]


def test_full_disk_keeps_the_older_checkpoint(saved, monkeypatch):
    folder, state, stateful = saved

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(UserError, match=r"checkpoint-7 cannot be written: No space left") as caught:
        checkpoint.save_checkpoint(folder, state, stateful)
    assert "free disk space" in caught.value.hint
    assert manifest.is_intact(folder)


def test_row_memory_keeps_its_order(tmp_path):
    memory = {f"z/{9 - i}": torch.full((2,), i) for i in range(9)}
    checkpoint.save_checkpoint(tmp_path / "checkpoint", TrainState(), build_stateful(memory))
    restored = build_stateful({"other": torch.zeros(2)})
    checkpoint.restore_checkpoint(tmp_path / "checkpoint", restored)
    assert list(restored.memory) == list(memory)
    assert all(torch.equal(restored.memory[k], v) for k, v in memory.items())


def test_longer_run_resumes_at_the_rate_of_its_own_schedule(tmp_path):
    short, long = build_stateful(steps=4), build_stateful(steps=8)
    for _, schedule in short.optimizers:
        schedule.step()
        schedule.step()
    checkpoint.save_checkpoint(tmp_path / "checkpoint", TrainState(step=2), short)
    checkpoint.restore_checkpoint(tmp_path / "checkpoint", long)
    for (optimizer, schedule), rate in zip(long.optimizers, (0.1, 0.2), strict=True):
        assert optimizer.param_groups[0]["lr"] == schedule.get_last_lr()[0] == rate * (1 - 2 / 8)


def test_validations_are_recorded_and_the_first_of_equals_is_best():
    state = TrainState()
    scores = [0.5, 0.4, 0.5, 0.6]
    is_best = []
    for step, score in enumerate(scores, 1):
        state.step = step
        is_best.append(state.record_validation({"step": step}, score))
    assert is_best == [True, False, False, True]
    assert (state.best_step, state.best_score, state.evals_since_best) == (4, 0.6, 0)
    assert [entry["step"] for entry in state.history] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed: 0 then, 1 now"),
        ({"steps": 8}, "steps: 9 then, 8 now (num_train_epochs)"),
        ({"bf16": True}, "bf16: not set then, true now"),
    ],
)
def test_checkpoint_of_another_run_is_refused_by_what_differs(saved, changes, message):
    folder, *_ = saved
    with pytest.raises(UserError, match="belongs to another run") as caught:
        checkpoint.check_checkpoint(folder, settings(**changes), POLICY)
    assert caught.value.problem.endswith(message)
    assert "output_dir" in caught.value.hint
    assert "--no-resume" in caught.value.hint


def test_ignored_settings_are_not_compared(saved):
    folder, *_ = saved
    checkpoint.check_checkpoint(folder, settings(seed=1, steps=8), POLICY, ("seed", "steps"))


def test_more_processes_or_steps_may_resume_and_are_reported(saved):
    folder, *_ = saved
    now = settings(processes=2, steps=12)
    checkpoint.check_checkpoint(folder, now, POLICY)
    changes = checkpoint.allowed_changes(settings(), now, POLICY)
    assert changes == ["steps: 9 then, 12 now", "processes: 1 then, 2 now"]


def test_checkpoint_without_settings_is_refused(tmp_path):
    checkpoint.save_checkpoint(tmp_path / "checkpoint", TrainState(), build_stateful())
    with pytest.raises(UserError, match="does not record the settings"):
        checkpoint.check_checkpoint(tmp_path / "checkpoint", settings(), POLICY)


@pytest.mark.parametrize("content", [None, "", "[1]", '{"train_state": 3}'])
def test_unreadable_checkpoint_is_not_of_another_run(tmp_path, content):
    if content is not None:
        (tmp_path / "state.json").write_text(content)
    checkpoint.check_checkpoint(tmp_path, settings(), POLICY)


def test_hint_proposes_the_accumulation_that_keeps_the_posts_of_a_step():
    policy = ResumePolicy(
        may_differ=(), step_size=("batch", "accumulation"), adjustable="accumulation"
    )
    then = {"batch": 4, "accumulation": 1, "steps": 9}
    assert (
        checkpoint.incompatibilities(then, {"batch": 2, "accumulation": 2, "steps": 9}, policy)
        == []
    )
    for batch, hint in ((2, "accumulation=2 keeps 4 posts a step; or "), (3, "choose another")):
        with pytest.raises(UserError, match=f"batch: 4 then, {batch} now") as caught:
            checkpoint.check("out", then, {"batch": batch, "accumulation": 1, "steps": 9}, policy)
        assert caught.value.hint.startswith(hint)
