"""The loss of the first steps of the tiny_cpu recipe and of a tiny random model is unchanged.

GEN_MSA_WRITE_GOLDEN=1 pytest tests/finetuning/test_golden_loss.py    # records it anew
"""

import itertools
import json
import os
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

from gen_msa.finetuning.loop import FinetuneRun
from gen_msa.finetuning.recipe import load_recipe
from tests.finetuning.run_recipes import build_recipe, save_tiny_model

GOLDEN = Path(__file__).parents[1] / "golden" / "loss_tiny_cpu.json"
STEPS = 6


def loss_curve(run):
    """Losses of the first steps, each with its update."""
    steps = enumerate(itertools.islice(run.sampler.remaining_steps(0), STEPS))
    return [run.train_step.run(run.sampler.step_batches(step), n).loss for n, step in steps]


def recorded_losses(name, losses, tolerance):
    """The recorded losses, within their tolerance."""
    if os.environ.get("GEN_MSA_WRITE_GOLDEN"):
        recorded = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
        recorded[name] = {"tolerance": tolerance, "loss": [round(x, 6) for x in losses]}
        GOLDEN.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
    loss = json.loads(GOLDEN.read_text())[name]["loss"]
    assert len(loss) == STEPS
    assert loss[-1] < loss[0]
    return pytest.approx(loss, rel=tolerance)


def test_loss_of_tiny_random_model_matches_golden(tmp_path):
    run = FinetuneRun(
        build_recipe(save_tiny_model(tmp_path / "llama"), tmp_path / "out", max_steps=STEPS)
    )
    losses = loss_curve(run)
    assert losses == recorded_losses("tiny_llama", losses, 1e-3)


@pytest.mark.models
@pytest.mark.slow
def test_loss_of_tiny_cpu_recipe_matches_golden(tmp_path):
    run = FinetuneRun(load_recipe("tiny_cpu", [f"output_dir={tmp_path / 'out'}"]))
    losses = loss_curve(run)
    assert losses == recorded_losses("tiny_cpu", losses, 5e-3)
