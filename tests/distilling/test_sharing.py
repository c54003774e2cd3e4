"""Two processes train what one does, one of them speaks, and a stopped run goes on to the byte."""

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
from gen_msa.distilling import losses  # noqa: E402
from gen_msa.distilling.loop import distil  # noqa: E402
from gen_msa.distilling.sharing import Crew  # noqa: E402
from gen_msa.students import students  # noqa: E402
from tests.distilling import faults, together  # noqa: E402
from tests.distilling.doubles import stopping  # noqa: E402
from tests.fixtures.tiny_students import (  # noqa: E402
    TINY,
    rows,
    shown,
    student,
    widths,
    words,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which two processes have run everything, and then this one has."""
    folder = tmp_path_factory.mktemp("together")
    tokenizer = faults.write_rows(folder, together.POSTS, odd=True)
    distil(faults.recipe(folder, folder / "teacher"), tokenizer=tokenizer)
    stopping.Stopping.at = 1
    with pytest.raises(stopping.Stopped):
        distil(together.moved_recipe(folder, "moved"), tokenizer=tokenizer)
    launch = "accelerate.commands.launch --multi_gpu --num_processes 2 --main_process_port 0 -m"
    command = [sys.executable, "-m", *launch.split(), "tests.distilling.together", str(folder)]
    # Without a GPU, whatever this machine has, the launcher's processes meet over gloo.
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, ran.stderr[-4000:]
    (folder / "said").write_text(ran.stderr, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def alone(folder):
    """Name -> folder of the student that one process trained."""
    told = together.recipes(folder, "one")
    return {name: distil(r, tokenizer=folder / "words.json") for name, r in told.items()}


@pytest.mark.parametrize("name", ["text", "taught", "self_mm", "folds"])
def test_two_processes_train_what_one_does(folder, alone, name):
    shared = folder / f"two-{name}" / "student"
    manifest.check(shared)
    one, two = (load_file(f / "model.safetensors") for f in (alone[name], shared))
    assert one.keys() == two.keys()
    for key, tensor in one.items():
        off = (tensor - two[key]).abs()
        if key.endswith("in_proj_bias"):
            off = torch.cat([*off.chunk(3)[::2]])
        # A bias on all keys alike shifts all scores of a softmax: its gradient is noise alone.
        assert key.endswith("key.bias") or off.max() <= 1e-5, key


def test_helpers_say_the_same(folder, alone):
    told = [folder / f"{mark}-folds" / "crossfit.jsonl" for mark in ("one", "two")]
    assert alone["folds"].parent == told[0].parent
    assert len(told[0].read_text().splitlines()) == len(told[1].read_text().splitlines()) > 0


def test_only_one_of_them_speaks(folder):
    said = (folder / "said").read_text("utf-8")
    assert said.count(f": {folder / 'two-text' / 'student'}\n") == 1
    # 9 steps, of which every second is told and the last; 3 judgings.
    assert len((folder / "two-text" / "log.jsonl").read_text().splitlines()) == 5 + 3


def test_what_was_stopped_ends_as_what_was_not_with_the_dropout_of_each_process(folder):
    straight, stopped = (
        (folder / name / "student" / "model.safetensors").read_bytes()
        for name in ("straight", "stopped")
    )
    assert straight == stopped
    assert "going on after step" in (folder / "said").read_text("utf-8")


def test_what_one_process_began_two_go_on_with(folder):
    said = (folder / "said").read_text("utf-8")
    assert "note: processes: 1 then, 2 now" in said
    whole = distil(together.moved_recipe(folder, "unmoved"), tokenizer=folder / "words.json")
    one, two = (load_file(f / "model.safetensors") for f in (whole, folder / "moved" / "student"))
    for key, tensor in one.items():
        off = (tensor - two[key]).abs()
        if key.endswith("in_proj_bias"):
            off = torch.cat([*off.chunk(3)[::2]])
        assert key.endswith("key.bias") or off.max() <= 1e-5, key


def test_a_process_that_was_not_there_keeps_its_own_random_state():
    there = {"torch": torch.get_rng_state().roll(1)[None]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        before = torch.get_rng_state()
        Both(1).go_on_from(there)
        assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        state = torch.get_rng_state()
        torch.manual_seed(8)
        Both(0).go_on_from({"torch": state[None]})
        assert torch.equal(torch.get_rng_state(), state)


class Both(Crew):
    """One of two processes, in whose sums the other's part is told beforehand."""

    def __init__(self, rank, others=0.0):
        super().__init__()
        self.rank, self.size, self.others = rank, 2, others

    def sum(self, tensor):
        return tensor.detach() + self.others


def test_each_has_its_own_rows_of_the_same_batch_and_all_are_had():
    batch = words()(rows(5))
    first, second = (Both(rank).part(batch) for rank in (0, 1))
    assert (first.ids, second.ids) == (batch.ids[::2], batch.ids[1::2])
    assert first.x["text"].shape[1] == second.x["text"].shape[1] == batch.x["text"].shape[1]
    assert [Both(rank).share(batch) for rank in (0, 1)] == [3 / 5, 2 / 5]


def test_who_has_no_row_counts_nothing():
    batch = words()(rows(1))
    part, crew = Both(1).part(batch), Both(1)
    assert crew.share(batch) == 0
    assert part.weight.tolist() == [0]
    assert losses.hard(student()(part).logits, part.target, part.weight).item() == 0


def test_parts_of_a_mean_add_up_to_it():
    logits, target = torch.randn(5, 3), torch.tensor([0, 1, 2, -1, 1])
    weight, by_class = torch.tensor([1.0, 2, 0.5, 1, 3]), torch.tensor([0.5, 2, 1])
    shares = torch.randn(5, 3).softmax(1) * torch.tensor([1, 1, 0, 1, 1]).unsqueeze(1)
    own = ([0, 2, 4], [1, 3])

    def hard(of, over=losses.alone):
        some = (logits[of], target[of], weight[of])
        return losses.hard(*some, by_class=by_class, smoothing=0.1, over=over)

    def soft(of, over=losses.alone):
        return losses.soft(logits[of], shares[of], weight[of], temperature=2, over=over)

    def parts(loss):
        counted = []
        for of in own:
            loss(of, lambda n: counted.append(n) or n)
        return [loss(of, lambda _: sum(counted)) for of in own]

    for loss in (hard, soft):
        assert float(sum(parts(loss))) == pytest.approx(float(loss([*range(5)])), rel=1e-5)


class Words(torch.nn.Module):
    """In place of a BERT, which looks at the values of a mask: there are none."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(words().vocabulary, TINY["width"])

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        return SimpleNamespace(last_hidden_state=self.table(input_ids))


@pytest.mark.parametrize("name", students.names())
def test_a_student_stays_on_the_device_of_its_batch(name):
    """On `meta`, which has shapes alone and, as a GPU, mixes with no other device."""
    made = student(name, dropout=0.1).train().to("meta")
    made.encoder = Words().to("meta")
    batch = words(widths=widths(name))(shown(rows(3))).to("meta")
    said = made(batch)
    assert all(t.device.type == "meta" for t in (said.logits, *said.losses.values()))
