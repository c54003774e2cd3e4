"""Cross-fitting: predictions for every post by a model that was not trained on it, as a teacher.

A student that has memorised its rows is certain of every label in them, and teaches nothing that
the labels do not. Each fold model is trained without one share of the posts, chosen by a hash of
the id, and predicts that share alone.

    cross_fit(recipe, train_sets, train)      # OUT/crossfit.jsonl; use it as `data.0.teachers`
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from gen_msa import jsonl
from gen_msa.distillation.dataset import DistillDataset
from gen_msa.distillation.recipe import DistillRecipe
from gen_msa.models import CLASSES, AspectExample
from gen_msa.models.inference.predict import predict_probabilities
from gen_msa.models.inference.serialization import load_student
from gen_msa.types import Opinion, Polarity

ANNOTATOR = "crossfit"
"""`Opinion.annotator` in the file."""
TrainFn = Callable[[DistillRecipe, list[DistillDataset]], Path]
"""Trains a student on rows, and returns its folder."""


def cross_fit(
    recipe: DistillRecipe,
    train_sets: Sequence[DistillDataset],
    train: TrainFn,
    *,
    write: bool = True,
) -> Path:
    """Train the fold models, and write their predictions for the rows that they have not seen.

    A fold model that an earlier run completed is trained again: only its recipe could tell whether
    it fits.

    Args:
        recipe: The recipe of the student; `cross_fit_folds` models are trained by it.
        train_sets: The rows of the student.
        train: Trains a student on the rows it is given.
        write: Whether this process writes the file.

    Returns:
        The file of predictions, with probabilities, by `ANNOTATOR`.
    """
    probs_by_row: dict[str, tuple[float, ...]] = {}
    for fold in range(recipe.cross_fit_folds):
        fold_recipe = recipe.model_copy(
            update={"output_dir": str(fold_folder(recipe, fold)), "cross_fit_folds": 0}
        )
        train_rows, held_out = (
            [_split_fold(d, fold, recipe.cross_fit_folds, held_out=flag) for d in train_sets]
            for flag in (False, True)
        )
        loaded = load_student(train(fold_recipe, train_rows))
        rows = [row for dataset in held_out for row in dataset.rows]
        row_probs = predict_probabilities(loaded.student, loaded.collator, rows)
        probs_by_row |= {r.id: tuple(p) for r, p in zip(rows, row_probs, strict=True)}
    path = Path(recipe.output_dir) / f"{ANNOTATOR}.jsonl"
    if write:
        with jsonl.atomic_write(path) as file:
            for dataset in train_sets:
                _write_opinions(file, dataset, probs_by_row)
    return path


def fold_folder(recipe: DistillRecipe, fold: int) -> Path:
    """Return the output folder of the model that is not trained on posts of a fold.

    Args:
        recipe: The recipe of the student.
        fold: 0 to folds - 1.
    """
    return Path(recipe.output_dir) / f"fold-{fold}"


def fold_of(post_id: str, folds: int) -> int:
    """Return the fold of a post, 0 to folds - 1; the same on every machine.

    Args:
        post_id: The post's id.
        folds: Number of folds.
    """
    return int(hashlib.sha256(post_id.encode()).hexdigest(), 16) % folds


def _split_fold(
    dataset: DistillDataset, fold: int, folds: int, *, held_out: bool
) -> DistillDataset:
    selected = [
        (row, post_index)
        for row, post_index in zip(dataset.rows, dataset.post_indices, strict=True)
        if (fold_of(dataset.examples[post_index].post.id, folds) == fold) is held_out
    ]
    return replace(
        dataset,
        rows=tuple(row for row, _ in selected),
        post_indices=tuple(post_index for _, post_index in selected),
    )


def _write_opinions(
    file: IO[bytes], dataset: DistillDataset, probs_by_row: Mapping[str, tuple[float, ...]]
) -> None:
    rows: dict[int, list[AspectExample]] = {}
    for row, post_index in zip(dataset.rows, dataset.post_indices, strict=True):
        rows.setdefault(post_index, []).append(row)
    for post_index, post_rows in rows.items():
        opinions = [_fold_opinion(row, probs_by_row[row.id]) for row in post_rows]
        example = dataset.examples[post_index].model_copy(update={"opinions": tuple(opinions)})
        file.write(example.model_dump_json(exclude_defaults=True).encode() + b"\n")


def _fold_opinion(row: AspectExample, row_probs: tuple[float, ...]) -> Opinion:
    probs: dict[Polarity, float] = dict(zip(CLASSES, row_probs, strict=True))
    polarity = max(CLASSES, key=lambda c: probs[c])
    return Opinion(annotator=ANNOTATOR, aspect=row.aspect, polarity=polarity, probs=probs)
