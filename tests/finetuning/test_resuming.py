"""What a run may go on from: the same training so far; else it is refused, and nothing is lost."""

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
from gen_msa.finetuning.loop import Run, finetune
from tests.finetuning.run_recipes import base, checkpoints, interrupted, log, recipe, start, written
from tests.training import test_fsdp

TINY = {"source": "tiny", "prompt": "reader/brief"}
CURVE = ("step", "loss", "grad_norm", "learning_rate")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return base(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def stopped(llama, tmp_path_factory):
    """The folder of a run that was stopped after two of its four steps."""
    folder = tmp_path_factory.mktemp("stopped") / "out"
    interrupted(recipe(llama, folder), after=2)
    return folder


@pytest.fixture
def out(stopped, tmp_path):
    """A copy of that folder."""
    return shutil.copytree(stopped, tmp_path / "out")


@pytest.fixture(scope="module")
def straight(llama, tmp_path_factory):
    """The curve of the same run when it is not stopped."""
    folder = tmp_path_factory.mktemp("straight")
    finetune(recipe(llama, folder))
    return log(folder, *CURVE)


def tree(folder):
    """Every file by its bytes."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {p.relative_to(folder): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def refused(said):
    """What a run that does not start says, and how to mend it; it has touched nothing."""
    before = tree(folder := Path(said.output_dir))
    with pytest.raises(UserError) as caught:
        finetune(said)
    assert tree(folder) == before
    return caught.value


def test_the_same_posts_a_step_in_other_batches_go_on(llama, out, straight, capsys):
    finetune(recipe(llama, out, per_device_train_batch_size=1, gradient_accumulation_steps=2))
    said = capsys.readouterr().err
    assert "going on from checkpoint-2" in said
    assert "note: per_device_train_batch_size: 2 then, 1 now" in said
    assert "note: gradient_accumulation_steps: 1 then, 2 now" in said
    found = log(out, *CURVE)
    assert len(found) == len(straight) == 4
    assert found[:2] == straight[:2]
    for mine, theirs in zip(found[2:], straight[2:], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5)


OTHERS = [
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


@pytest.mark.parametrize(("given", "named"), OTHERS, ids=[next(iter(g)) for g, _ in OTHERS])
def test_another_run_is_refused_before_anything_is_written_and_says_why(llama, out, given, named):
    problem = refused(recipe(llama, out, **given))
    assert f"{out / 'checkpoint-2'} is of another run" in problem.problem
    assert named in problem.problem
    assert "output_dir" in problem.mend
    assert "--fresh" in problem.mend
    assert "learning_rate" in given or "learning_rate" not in problem.problem


def test_the_hint_says_which_accumulation_keeps_the_posts_of_a_step(llama, out):
    said = refused(recipe(llama, out, per_device_train_batch_size=1))
    assert said.mend.startswith("gradient_accumulation_steps=2 keeps 2 posts a step; or choose")
    said = refused(recipe(llama, out, per_device_train_batch_size=4))
    assert "gradient_accumulation_steps=" not in said.mend


def test_other_posts_in_a_file_of_the_same_name_are_another_run(llama, tmp_path):
    file = tmp_path / "posts.jsonl"
    post = {"text": "Great screen", "aspects": [{"term": "screen", "polarity": "positive"}]}
    file.write_text(json.dumps(post) + "\n")
    said = recipe(
        llama, tmp_path / "out", data=[{"source": str(file), "prompt": "reader/brief"}], max_steps=2
    )
    interrupted(said, after=1)
    file.write_text(json.dumps(post | {"text": "Great, great screen"}) + "\n")
    assert "data (sha256): " in refused(said).problem


def test_more_steps_go_on_by_their_own_schedule(llama, tmp_path, straight, capsys):
    given = {"dev": [{**TINY, "limit": 2}], "eval_steps": 1}
    finetune(recipe(llama, tmp_path / "whole", **given))
    whole = log(tmp_path / "whole", *CURVE)
    finetune(recipe(llama, tmp_path / "out", max_steps=2, **given))
    before = log(tmp_path / "out", *CURVE)
    capsys.readouterr()
    finetune(recipe(llama, tmp_path / "out", **given))
    said = capsys.readouterr().err
    assert "going on from checkpoint-2" in said
    assert "note: steps: 2 then, 4 now" in said
    found = log(tmp_path / "out", *CURVE)
    assert found[:2] == before
    assert [f[0] for f in found] == [1, 2, 3, 4]
    assert [f[3] for f in found[2:]] == [w[3] for w in whole[2:]]
    # The last step of the shorter run is judged in the longer one too, which keeps the best of all.
    progress = json.loads((tmp_path / "out/checkpoint-4/state.json").read_text())["progress"]
    assert [h["step"] for h in progress["history"]] == [1, 2, 3]


def test_the_first_step_of_a_longer_run_has_the_rate_of_its_schedule(llama, tmp_path):
    finetune(recipe(llama, tmp_path, max_steps=2))
    run = Run(recipe(llama, tmp_path))
    run.resume()
    (now,) = {g["lr"] for g in run.stepper.optimizer.param_groups}
    # One step of warm-up; linear from the first to the fourth.
    assert now == pytest.approx(0.01 * 2 / 3)


def test_more_epochs_go_on_too(llama, tmp_path):
    finetune(recipe(llama, tmp_path, max_steps=-1, num_train_epochs=1))
    assert log(tmp_path, "step") == [1, 2]
    finetune(recipe(llama, tmp_path, max_steps=-1, num_train_epochs=2))
    assert log(tmp_path, "step") == [1, 2, 3, 4]


def test_what_moves_no_weight_may_change_without_a_word(llama, out, straight, capsys):
    free = {
        "logging_steps": 1, "save_total_limit": 1, "save_steps": 2, "eval_steps": 3,
        "early_stopping_patience": 2, "levers": {"prefetch": 0}, "device": "auto",
    }  # fmt: skip
    finetune(recipe(llama, out, **free))
    said = capsys.readouterr().err
    assert "going on from checkpoint-2" in said
    assert " then, " not in said
    assert checkpoints(out) == [4]
    assert log(out, *CURVE) == straight


def test_a_checkpoint_that_says_no_settings_is_refused(llama, out):
    state = out / "checkpoint-1/state.json"
    told = json.loads(state.read_text())
    del told["progress"]["settings"]
    state.write_text(json.dumps(told))
    problem = refused(recipe(llama, out)).problem
    assert f"{out / 'checkpoint-1'} is of another run" in problem
    assert "does not say by which settings" in problem


def test_begun_anew_it_says_so_and_replaces_the_others_with_its_own_first(llama, out, capsys):
    other = recipe(llama, out, learning_rate=0.02, resume=False)
    interrupted(other.model_copy(update={"save_steps": 2}), after=1)
    assert checkpoints(out) == [1, 2]
    said = capsys.readouterr().err
    assert "begins anew; its first checkpoint replaces checkpoint-1, checkpoint-2" in said
    interrupted(other, after=1)
    assert checkpoints(out) == [1]
    assert log(out, "step") == [1]
    # What was begun anew goes on like any other.
    finetune(other.model_copy(update={"resume": True}))
    assert "going on from checkpoint-1" in capsys.readouterr().err
    assert checkpoints(out) == [1, 2, 3, 4]


@pytest.mark.parametrize("flag", ["--fresh", "--no-resume"])
def test_the_flag_of_the_hint_is_one_of_the_launcher_too(llama, out, tmp_path, flag):
    file = written(recipe(llama, out, learning_rate=0.02), tmp_path / "other.yaml")
    with pytest.raises(SystemExit) as ended:
        main(["--recipe", str(file)])
    assert ended.value.code == 2
    main(["--recipe", str(file), flag])
    assert log(out, "step") == [1, 2, 3, 4]


@pytest.fixture(scope="module")
def both(llama, tmp_path_factory):
    """A folder in which two processes have ended a run; one post each a step."""
    folder = tmp_path_factory.mktemp("both")
    said = recipe(llama, folder / "out", per_device_train_batch_size=1)
    ran = start(
        "-m", "gen_msa.finetuning", "--recipe", written(said, folder / "both.yaml"), processes=2
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    return folder / "out"


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="no gloo here")
class TestSeveralProcesses:
    """A run is stopped, and goes on with another number of processes."""

    @staticmethod
    def gone_on(said, folder, processes, **environment):
        """Where a run began after its second checkpoint, and its curve."""
        file = written(said, folder / "again.yaml")
        ran = start(
            "-m", "tests.finetuning.run_recipes", folder, f"{file}@2", processes=processes,
            **environment,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr[-4000:]
        (seen,) = json.loads((folder / "saw-0.json").read_text())
        assert seen["processes"] == processes
        return seen["began"], [tuple(step) for step in seen["curve"]]

    @pytest.mark.parametrize("size", [1, 2])
    def test_one_goes_on_from_two(self, llama, both, tmp_path, size):
        out = shutil.copytree(both, tmp_path / "out")
        said = recipe(
            llama, out, per_device_train_batch_size=size, gradient_accumulation_steps=2 // size
        )
        began, curve = self.gone_on(said, tmp_path, 1)
        assert began == 2
        for mine, theirs in zip(curve, log(both, "step", "loss", "grad_norm"), strict=True):
            assert mine == pytest.approx(theirs, rel=1e-5)

    def test_one_with_half_the_posts_a_step_does_not(self, llama, both, tmp_path):
        out = shutil.copytree(both, tmp_path / "out")
        said = refused(recipe(llama, out, per_device_train_batch_size=1))
        assert "processes: 2 then, 1 now" in said.problem
        assert "per_device_train_batch_size" not in said.problem
        assert said.mend.startswith("gradient_accumulation_steps=2 keeps 2 posts a step; or ")

    @pytest.mark.parametrize("split", [False, True])
    def test_two_go_on_from_one_with_whole_copies_or_parts_of_the_model(
        self, llama, stopped, straight, tmp_path, split
    ):
        out = shutil.copytree(stopped, tmp_path / "out")
        said = recipe(llama, out, per_device_train_batch_size=1)
        began, curve = self.gone_on(said, tmp_path, 2, **(test_fsdp.asked() if split else {}))
        assert began == 2
        for mine, theirs in zip(curve, straight, strict=True):
            assert mine == pytest.approx(theirs[:3], rel=1e-4)
