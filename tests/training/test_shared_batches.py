"""Two processes that share batches train what one does; a crashed run resumes to the same bytes."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from safetensors.torch import load_file  # noqa: E402

from gen_msa import manifest  # noqa: E402
from gen_msa.distillation import train_step  # noqa: E402
from gen_msa.distillation.loop import distill  # noqa: E402
from gen_msa.models import models  # noqa: E402
from gen_msa.training.distributed import ProcessGroup  # noqa: E402
from tests.distillation import fault_injection, multi_process  # noqa: E402
from tests.distillation.fake_models import crashing  # noqa: E402
from tests.fixtures.tiny_students import (  # noqa: E402
    TINY,
    feature_widths,
    make_collator,
    make_student,
    rows,
    with_features,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which two processes have run every recipe."""
    folder = tmp_path_factory.mktemp("shared")
    tokenizer = fault_injection.write_data(folder, multi_process.POSTS, odd_count=True)
    distill(fault_injection.build_recipe(folder, folder / "teacher"), tokenizer=tokenizer)
    crashing.CrashingSelfMm.crash_epoch = 1
    with pytest.raises(crashing.Interrupted):
        distill(multi_process.moved_recipe(folder, "moved"), tokenizer=tokenizer)
    launch = "accelerate.commands.launch --multi_gpu --num_processes 2 --main_process_port 0 -m"
    command = [
        sys.executable,
        "-m",
        *launch.split(),
        "tests.distillation.multi_process",
        str(folder),
    ]
    # Without a GPU, whatever this machine has, the launcher's processes meet over gloo.
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=280
    )
    assert process.returncode == 0, process.stderr[-4000:]
    (folder / "stderr").write_text(process.stderr, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def single_process_runs(folder):
    """Name -> folder of the student that one process trained."""
    recipes = multi_process.recipes_by_name(folder, "one")
    return {name: distill(r, tokenizer=folder / "words.json") for name, r in recipes.items()}


@pytest.mark.parametrize("name", ["text", "taught", "self_mm", "folds"])
def test_two_processes_match_one(folder, single_process_runs, name):
    shared = folder / f"two-{name}" / "student"
    manifest.verify(shared)
    single_tensors, shared_tensors = (
        load_file(f / "model.safetensors") for f in (single_process_runs[name], shared)
    )
    assert single_tensors.keys() == shared_tensors.keys()
    for key, tensor in single_tensors.items():
        difference = (tensor - shared_tensors[key]).abs()
        if key.endswith("in_proj_bias"):
            difference = torch.cat([*difference.chunk(3)[::2]])
        # A bias on all keys alike shifts all scores of a softmax: its gradient is noise alone.
        assert key.endswith("key.bias") or difference.max() <= 1e-5, key


def test_cross_fit_files_have_the_same_length(folder, single_process_runs):
    output_files = [folder / f"{mark}-folds" / "crossfit.jsonl" for mark in ("one", "two")]
    assert single_process_runs["folds"].parent == output_files[0].parent
    assert (
        len(output_files[0].read_text().splitlines())
        == len(output_files[1].read_text().splitlines())
        > 0
    )


def test_only_the_main_process_logs(folder):
    stderr_text = (folder / "stderr").read_text("utf-8")
    assert stderr_text.count(f": {folder / 'two-text' / 'student'}\n") == 1
    # 9 steps, of which every second and the last are logged; 3 validations.
    assert len((folder / "two-text" / "log.jsonl").read_text().splitlines()) == 5 + 3


def test_resumed_run_is_identical_with_dropout_per_rank(folder):
    straight, stopped = (
        (folder / name / "student" / "model.safetensors").read_bytes()
        for name in ("straight", "stopped")
    )
    assert straight == stopped
    assert "resuming from checkpoint, step " in (folder / "stderr").read_text("utf-8")


def test_two_processes_resume_the_run_of_one(folder):
    output = (folder / "stderr").read_text("utf-8")
    assert "note: processes: 1 then, 2 now" in output
    uninterrupted = distill(
        multi_process.moved_recipe(folder, "unmoved"), tokenizer=folder / "words.json"
    )
    single_tensors, shared_tensors = (
        load_file(f / "model.safetensors") for f in (uninterrupted, folder / "moved" / "student")
    )
    for key, tensor in single_tensors.items():
        difference = (tensor - shared_tensors[key]).abs()
        if key.endswith("in_proj_bias"):
            difference = torch.cat([*difference.chunk(3)[::2]])
        assert key.endswith("key.bias") or difference.max() <= 1e-5, key


def test_process_without_saved_state_keeps_its_random_state():
    saved_states = {"torch": torch.get_rng_state().roll(1)[None]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        before = torch.get_rng_state()
        FakeRank(1).restore_rng(saved_states)
        assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        state = torch.get_rng_state()
        torch.manual_seed(8)
        FakeRank(0).restore_rng({"torch": state[None]})
        assert torch.equal(torch.get_rng_state(), state)


class FakeRank(ProcessGroup):
    """One of two processes, whose sums add a given value for the other."""

    def __init__(self, rank, others=0.0):
        super().__init__()
        self.rank, self.world_size, self.others = rank, 2, others

    def all_reduce_sum(self, tensor):
        return tensor.detach() + self.others


def test_ranks_split_the_rows_of_a_batch():
    batch = make_collator()(rows(5))
    first_rows, second_rows = (FakeRank(rank).local_rows(batch) for rank in (0, 1))
    assert (first_rows.ids, second_rows.ids) == (batch.ids[::2], batch.ids[1::2])
    assert (
        first_rows.inputs["text"].shape[1]
        == second_rows.inputs["text"].shape[1]
        == batch.inputs["text"].shape[1]
    )
    assert [FakeRank(rank).local_fraction(batch) for rank in (0, 1)] == [3 / 5, 2 / 5]


def test_rank_without_rows_contributes_nothing():
    batch = make_collator()(rows(1))
    local_batch, group = FakeRank(1).local_rows(batch), FakeRank(1)
    assert group.local_fraction(batch) == 0
    assert local_batch.weight.tolist() == [0]
    assert (
        train_step.label_cross_entropy(
            make_student()(local_batch).logits, local_batch.target, local_batch.weight
        ).item()
        == 0
    )


def test_rank_losses_add_up_to_the_mean():
    logits, target = torch.randn(5, 3), torch.tensor([0, 1, 2, -1, 1])
    weight, by_class = torch.tensor([1.0, 2, 0.5, 1, 3]), torch.tensor([0.5, 2, 1])
    probs = torch.randn(5, 3).softmax(1) * torch.tensor([1, 1, 0, 1, 1]).unsqueeze(1)
    rank_indices = ([0, 2, 4], [1, 3])

    def label_loss(indices, reduce_sum=train_step.sum_local):
        selected = (logits[indices], target[indices], weight[indices])
        return train_step.label_cross_entropy(
            *selected, by_class=by_class, smoothing=0.1, reduce_sum=reduce_sum
        )

    def teacher_loss(indices, reduce_sum=train_step.sum_local):
        return train_step.distillation_kl(
            logits[indices], probs[indices], weight[indices], temperature=2, reduce_sum=reduce_sum
        )

    def rank_losses(loss):
        partial_sums = []
        for indices in rank_indices:
            loss(indices, lambda n: partial_sums.append(n) or n)
        return [loss(indices, lambda _: sum(partial_sums)) for indices in rank_indices]

    for loss in (label_loss, teacher_loss):
        assert float(sum(rank_losses(loss))) == pytest.approx(float(loss([*range(5)])), rel=1e-5)


class FakeTextEncoder(torch.nn.Module):
    """In place of a BERT, which looks at the values of a mask: there are none."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(make_collator().vocab_size, TINY["width"])

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        return SimpleNamespace(last_hidden_state=self.embedding(input_ids))


@pytest.mark.parametrize("name", models.names())
def test_model_stays_on_the_device_of_its_batch(name):
    """On `meta`, which has shapes alone and, as a GPU, mixes with no other device."""
    model = make_student(name, dropout=0.1).train().to("meta")
    model.encoder = FakeTextEncoder().to("meta")
    batch = make_collator(widths=feature_widths(name))(with_features(rows(3))).to("meta")
    output = model(batch)
    assert all(t.device.type == "meta" for t in (output.logits, *output.losses.values()))
