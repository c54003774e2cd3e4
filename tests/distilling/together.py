"""Runs of several processes, one after the other in one launch; a script for a launcher.

accelerate launch --multi_gpu --num_processes 2 -m tests.distilling.together FOLDER
"""

import sys
from pathlib import Path

from gen_msa.distilling import sharing
from gen_msa.distilling.loop import distil
from gen_msa.distilling.recipe import Losses
from tests.distilling import faults
from tests.distilling.doubles import stopping
from tests.fixtures.tiny_students import TINY

POSTS = 9
"""17 rows, of which the last batch of 8 has one: none is left for the second process."""
TAUGHT = Losses(hard=0.5, soft=1, temperature=2, features={"text": 1})


def recipes(folder, mark):
    """Name -> recipe. Nothing is drawn but first weights and the order of rows."""

    def one(name, student="text", **changed):
        told = faults.recipe(folder, folder / f"{mark}-{name}", student)
        numbers = {**told.numbers, "dropout": 0.0}
        if student != "text":
            numbers["drop"] = 0.0
        # Adam makes a whole step of a gradient that is noise: a small one.
        return told.model_copy(update={"numbers": numbers, "learning_rate": 1e-3, **changed})

    learned = {"class_weights": "balanced", "label_smoothing": 0.1}
    teacher = {"teacher": str(folder / "teacher" / "student"), "losses": TAUGHT}
    return {
        "text": one("text", **learned),
        "taught": one("taught", **teacher),
        "self_mm": one("self_mm", "self_mm", num_train_epochs=4),
        "folds": one("folds", folds=2, num_train_epochs=1),
    }


def stopping_recipe(folder, name):
    """With dropout; judged, and so kept, in the middle of epochs too."""
    told = faults.recipe(folder, folder / name, "self_mm")
    changed = {"student": "stopping", "eval_steps": 2, "num_train_epochs": 2}
    return told.model_copy(update={"numbers": {**TINY, "sources": ["audio"]}, **changed})


def moved_recipe(folder, name):
    """The same without anything drawn: stopped in one process, it goes on in two."""
    told = stopping_recipe(folder, name)
    numbers = {**told.numbers, "dropout": 0.0, "drop": 0.0}
    return told.model_copy(update={"numbers": numbers, "learning_rate": 1e-3})


def main(folder):
    words = folder / "words.json"
    for told in recipes(folder, "two").values():
        distil(told, tokenizer=words)
    distil(stopping_recipe(folder, "straight"), tokenizer=words)
    stopping.Stopping.at = 1
    again = stopping_recipe(folder, "stopped")
    try:
        distil(again, tokenizer=words)
    except stopping.Stopped:
        distil(again, tokenizer=words)
    distil(moved_recipe(folder, "moved"), tokenizer=words)
    sharing.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
