"""The loss of the first steps is what it was: of the recipe tiny_cpu, and of a tiny random model.

GEN_MSA_WRITE_GOLDEN=1 pytest tests/finetuning/test_golden_loss.py    # writes it anew
"""

import itertools
import json
import os
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

from gen_msa.finetuning.loop import Run
from gen_msa.finetuning.recipe import load
from tests.finetuning.running import base, recipe

GOLDEN = Path(__file__).parents[1] / "golden" / "loss_tiny_cpu.json"
STEPS = 6


def curve(run):
    """Loss of each of the first steps, every one with its update."""
    steps = enumerate(itertools.islice(run.planner.left(0), STEPS))
    return [run.stepper.step(run.planner.batches(step), n).loss for n, step in steps]


def golden(name, found, tolerance):
    """What was recorded, within its tolerance."""
    if os.environ.get("GEN_MSA_WRITE_GOLDEN"):
        known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
        known[name] = {"tolerance": tolerance, "loss": [round(x, 6) for x in found]}
        GOLDEN.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    loss = json.loads(GOLDEN.read_text())[name]["loss"]
    assert len(loss) == STEPS
    assert loss[-1] < loss[0]
    return pytest.approx(loss, rel=tolerance)


def test_the_loss_of_a_tiny_random_model_is_what_it_was(tmp_path):
    run = Run(recipe(base(tmp_path / "llama"), tmp_path / "out", max_steps=STEPS))
    found = curve(run)
    assert found == golden("tiny_llama", found, 1e-3)


@pytest.mark.models
@pytest.mark.slow
def test_the_loss_of_the_recipe_tiny_cpu_is_what_it_was(tmp_path):
    run = Run(load("tiny_cpu", [f"output_dir={tmp_path / 'out'}"]))
    found = curve(run)
    assert found == golden("tiny_cpu", found, 5e-3)
