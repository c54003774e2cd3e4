"""Cross-fitting: what helpers say of posts that they were not trained on, as a teacher's file.

A student that has learned its rows by heart is sure of every label in them, and teaches nothing
that the labels do not. Each helper is trained without one share of the posts, chosen by a hash of
the id, and speaks of that share alone. Knows nothing of steps.

    fit(recipe, gathered, run)      # OUT/crossfit.jsonl; use it as `data.0.teachers`
"""

import hashlib
from collections.abc import Callable, Sequence
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
"""Whose opinions stand in the file."""
TrainFn = Callable[[DistillRecipe, list[DistillDataset]], Path]


def cross_fit(
    recipe: DistillRecipe,
    train_sets: Sequence[DistillDataset],
    train: TrainFn,
    *,
    write: bool = True,
) -> Path:
    """Train `recipe.folds` helpers and write what they say of every row they have not seen.

    `train` trains a student on the rows given and returns its folder. A helper that is there whole
    from an earlier run is trained again all the same: only its recipe could tell whether it fits.
    Without `write` helpers are trained, and another process writes.
    """
    probs_by_row: dict[str, tuple[float, ...]] = {}
    for fold in range(recipe.cross_fit_folds):
        fold_folder = folder(recipe, fold)
        fold_recipe = recipe.model_copy(update={"output_dir": str(fold_folder), "cross_fit_folds": 0})
        loaded = load_student(
            train(
                fold_recipe,
                [_split_fold(g, fold, recipe.cross_fit_folds, held_out=False) for g in train_sets],
            )
        )
        held_out_rows = [
            r
            for g in train_sets
            for r in _split_fold(g, fold, recipe.cross_fit_folds, held_out=True).rows
        ]
        row_probs = predict_probabilities(loaded.student, loaded.collator, held_out_rows)
        probs_by_row |= {r.id: tuple(s) for r, s in zip(held_out_rows, row_probs, strict=True)}
    path = Path(recipe.output_dir) / f"{ANNOTATOR}.jsonl"
    if write:
        with jsonl.atomic_write(path) as file:
            for dataset in train_sets:
                _write_opinions(file, dataset, probs_by_row)
    return path


def folder(recipe: DistillRecipe, fold: int) -> Path:
    """Where the helper trains that does not see share `fold`."""
    return Path(recipe.output_dir) / f"fold-{fold}"


def fold_of(post: str, folds: int) -> int:
    """Which helper does not see the post: 0 to folds - 1, the same on every machine."""
    return int(hashlib.sha256(post.encode()).hexdigest(), 16) % folds


def _split_fold(
    dataset: DistillDataset, fold: int, folds: int, *, held_out: bool
) -> DistillDataset:
    selected = [
        (row, post_index)
        for row, post_index in zip(dataset.rows, dataset.post_indices, strict=True)
        if (fold_of(dataset.examples[post_index].post.id, folds) == fold) is held_out
    ]
    return replace(
        dataset, rows=tuple(r for r, _ in selected), post_indices=tuple(p for _, p in selected)
    )


def _write_opinions(
    file: IO[bytes], dataset: DistillDataset, probs_by_row: dict[str, tuple[float, ...]]
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
