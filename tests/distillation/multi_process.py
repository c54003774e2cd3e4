"""Runs of several processes, one after the other in one launch; a script for a launcher.

accelerate launch --multi_gpu --num_processes 2 -m tests.distillation.multi_process FOLDER
"""

import sys
from pathlib import Path

from gen_msa.distillation.loop import distill
from gen_msa.distillation.recipe import DistillLossConfig
from gen_msa.training import distributed
from tests.distillation import fault_injection
from tests.distillation.fake_models import crashing
from tests.fixtures.tiny_students import TINY

POSTS = 9
"""17 rows: the last batch of 8 has a single row, and the second process gets none."""
TEACHER_LOSSES = DistillLossConfig(label=0.5, distill_kl=1, temperature=2, feature_l1={"text": 1})


def recipes_by_name(folder, prefix):
    """Return name -> recipe. Only initial weights and the order of rows are random."""

    def build(name, student="text", **overrides):
        base_recipe = fault_injection.build_recipe(folder, folder / f"{prefix}-{name}", student)
        config = {**base_recipe.config, "dropout": 0.0}
        if student != "text":
            config["fusion_dropout"] = 0.0
        # Adam makes a whole step of a gradient that is noise: a small one.
        return base_recipe.model_copy(update={"config": config, "learning_rate": 1e-3, **overrides})

    label_options = {"class_weights": "balanced", "label_smoothing": 0.1}
    teacher_options = {"teacher": str(folder / "teacher" / "student"), "losses": TEACHER_LOSSES}
    return {
        "text": build("text", **label_options),
        "taught": build("taught", **teacher_options),
        "self_mm": build("self_mm", "self_mm", num_train_epochs=4),
        "folds": build("folds", cross_fit_folds=2, num_train_epochs=1),
    }


def crashing_recipe(folder, name):
    """Return a recipe with dropout that validates and saves within epochs too."""
    base_recipe = fault_injection.build_recipe(folder, folder / name, "self_mm")
    overrides = {"student": "crashing", "eval_steps": 2, "num_train_epochs": 2}
    return base_recipe.model_copy(update={"config": {**TINY, "sources": ["audio"]}, **overrides})


def moved_recipe(folder, name):
    """Return the same without dropout: stopped in one process, it resumes in two."""
    base_recipe = crashing_recipe(folder, name)
    config = {**base_recipe.config, "dropout": 0.0, "fusion_dropout": 0.0}
    return base_recipe.model_copy(update={"config": config, "learning_rate": 1e-3})


def main(folder):
    tokenizer = folder / "words.json"
    for run_recipe in recipes_by_name(folder, "two").values():
        distill(run_recipe, tokenizer=tokenizer)
    distill(crashing_recipe(folder, "straight"), tokenizer=tokenizer)
    crashing.CrashingSelfMm.crash_epoch = 1
    crash_recipe = crashing_recipe(folder, "stopped")
    try:
        distill(crash_recipe, tokenizer=tokenizer)
    except crashing.Interrupted:
        distill(crash_recipe, tokenizer=tokenizer)
    distill(moved_recipe(folder, "moved"), tokenizer=tokenizer)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
