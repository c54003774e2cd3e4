"""How a run of several processes ends: the wrapped model goes before the process group does."""

import gc
import weakref

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

from accelerate import Accelerator
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from gen_msa.finetuning.loop import finetune
from tests.finetuning.run_recipes import base, recipe, start, written

pytestmark = pytest.mark.skipif(not distributed.is_gloo_available(), reason="no gloo here")
TINY = {"source": "tiny", "prompt": "reader/brief"}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return base(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def ending(monkeypatch):
    """What happens at the end of a run in this process, whose model is wrapped as for several."""
    wrapped, seen = [], []

    def prepare(self, model, optimizer, real=Accelerator.prepare):
        parallel = DistributedDataParallel(model)
        wrapped.extend(map(weakref.ref, (parallel, parallel.reducer, parallel.logger)))
        return real(self, parallel, optimizer)

    def wait(self):
        seen.append(("waited", [w() is not None for w in wrapped]))

    def destroy(group=None, real=distributed.destroy_process_group):
        seen.append(("destroyed", [w() is not None for w in wrapped]))
        real(group)

    monkeypatch.setattr(Accelerator, "prepare", prepare)
    monkeypatch.setattr(Accelerator, "wait_for_everyone", wait)
    monkeypatch.setattr(distributed, "destroy_process_group", destroy)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield seen
    if distributed.is_initialized():
        distributed.destroy_process_group()


@pytest.mark.parametrize("dry_run", [False, True])
def test_nothing_of_the_wrapped_model_is_alive_when_the_group_is_destroyed(
    llama, tmp_path, ending, dry_run
):
    given = {"dev": [{**TINY, "limit": 1}], "max_steps": 2}
    # Only what is let go on purpose may go: garbage is not collected by chance.
    gc.disable()
    try:
        finetune(recipe(llama, tmp_path / "out", **given), dry_run=dry_run)
    finally:
        gc.enable()
    assert ending[-2:] == [("waited", [True] * 3), ("destroyed", [False] * 3)]
    assert not distributed.is_initialized()


@pytest.mark.slow
def test_two_processes_part_again_and_again(tmp_path):
    ran = start("-m", "tests.finetuning.leaving", tmp_path, "30", processes=2)
    assert ran.returncode == 0, ran.stderr[-4000:]
    assert [(tmp_path / f"ended-{rank}").read_text() for rank in (0, 1)] == ["30", "30"]


@pytest.mark.slow
def test_runs_of_two_processes_end(llama, tmp_path):
    """A hundred are for eval/bench/ending.py; here three, whole ones."""
    for number in range(3):
        said = recipe(
            llama, tmp_path / f"{number}", dev=[{**TINY, "limit": 1}], max_steps=2, eval_steps=4,
            per_device_train_batch_size=1, save_steps=2,
        )  # fmt: skip
        file = written(said, tmp_path / f"{number}.yaml")
        ran = start("-m", "gen_msa.finetuning", "--recipe", file, processes=2, timeout=90)
        assert ran.returncode == 0, ran.stderr[-4000:]
