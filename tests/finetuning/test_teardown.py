"""A run of several processes releases its wrapped model before the process group ends."""

import gc
import weakref

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

from accelerate import Accelerator
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from gen_msa.finetuning.loop import finetune
from tests.finetuning.run_recipes import (
    build_recipe,
    run_process,
    save_tiny_model,
    write_recipe,
)

pytestmark = pytest.mark.skipif(not distributed.is_gloo_available(), reason="no gloo here")
TINY = {"source": "tiny", "prompt": "predict/brief"}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def teardown_events(monkeypatch):
    """Record the end of a run in this process, whose model is wrapped as for several."""
    wrapped, events = [], []

    def prepare(self, model, optimizer, real=Accelerator.prepare):
        parallel = DistributedDataParallel(model)
        wrapped.extend(map(weakref.ref, (parallel, parallel.reducer, parallel.logger)))
        return real(self, parallel, optimizer)

    def wait(self):
        events.append(("waited", [w() is not None for w in wrapped]))

    def destroy(group=None, real=distributed.destroy_process_group):
        events.append(("destroyed", [w() is not None for w in wrapped]))
        real(group)

    monkeypatch.setattr(Accelerator, "prepare", prepare)
    monkeypatch.setattr(Accelerator, "wait_for_everyone", wait)
    monkeypatch.setattr(distributed, "destroy_process_group", destroy)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield events
    if distributed.is_initialized():
        distributed.destroy_process_group()


@pytest.mark.parametrize("dry_run", [False, True])
def test_wrapped_model_is_released_before_the_group_is_destroyed(
    llama, tmp_path, teardown_events, dry_run
):
    overrides = {"dev": [{**TINY, "limit": 1}], "max_steps": 2}
    # Only what is released on purpose may go: garbage is not collected by chance.
    gc.disable()
    try:
        finetune(build_recipe(llama, tmp_path / "out", **overrides), dry_run=dry_run)
    finally:
        gc.enable()
    assert teardown_events[-2:] == [("waited", [True] * 3), ("destroyed", [False] * 3)]
    assert not distributed.is_initialized()


@pytest.mark.slow
def test_two_processes_end_thirty_times(tmp_path):
    process = run_process("-m", "tests.finetuning.teardown_cycles", tmp_path, "30", processes=2)
    assert process.returncode == 0, process.stderr[-4000:]
    assert [(tmp_path / f"ended-{rank}").read_text() for rank in (0, 1)] == ["30", "30"]


@pytest.mark.slow
def test_runs_of_two_processes_end(llama, tmp_path):
    """Three complete runs; `eval/bench/ending.py` runs a hundred."""
    for i in range(3):
        recipe = build_recipe(
            llama, tmp_path / f"{i}", dev=[{**TINY, "limit": 1}], max_steps=2, eval_steps=4,
            per_device_train_batch_size=1, save_steps=2,
        )  # fmt: skip
        file = write_recipe(recipe, tmp_path / f"{i}.yaml")
        process = run_process("-m", "gen_msa.finetuning", "--recipe", file, processes=2, timeout=90)
        assert process.returncode == 0, process.stderr[-4000:]
