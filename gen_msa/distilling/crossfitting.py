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
from gen_msa.distilling.recipe import Recipe
from gen_msa.distilling.rows import Gathered
from gen_msa.students import CLASSES, Row
from gen_msa.students.common.keeping import open_student
from gen_msa.students.common.reading import probabilities
from gen_msa.types import Opinion, Polarity

BY = "crossfit"
"""Whose opinions stand in the file."""
Train = Callable[[Recipe, list[Gathered]], Path]


def fit(recipe: Recipe, learned: Sequence[Gathered], train: Train, *, write: bool = True) -> Path:
    """Train `recipe.folds` helpers and write what they say of every row they have not seen.

    `train` trains a student on the rows given and returns its folder. A helper that is there whole
    from an earlier run is trained again all the same: only its recipe could tell whether it fits.
    Without `write` helpers are trained, and another process writes.
    """
    said: dict[str, tuple[float, ...]] = {}
    for fold in range(recipe.folds):
        out = folder(recipe, fold)
        one = recipe.model_copy(update={"output_dir": str(out), "folds": 0})
        opened = open_student(
            train(one, [_part(g, fold, recipe.folds, out=False) for g in learned])
        )
        unseen = [r for g in learned for r in _part(g, fold, recipe.folds, out=True).rows]
        shares = probabilities(opened.student, opened.collate, unseen)
        said |= {r.id: tuple(s) for r, s in zip(unseen, shares, strict=True)}
    path = Path(recipe.output_dir) / f"{BY}.jsonl"
    if write:
        with jsonl.whole(path) as file:
            for gathered in learned:
                _write(file, gathered, said)
    return path


def folder(recipe: Recipe, fold: int) -> Path:
    """Where the helper trains that does not see share `fold`."""
    return Path(recipe.output_dir) / f"fold-{fold}"


def fold_of(post: str, folds: int) -> int:
    """Which helper does not see the post: 0 to folds - 1, the same on every machine."""
    return int(hashlib.sha256(post.encode()).hexdigest(), 16) % folds


def _part(gathered: Gathered, fold: int, folds: int, *, out: bool) -> Gathered:
    kept = [
        (row, place)
        for row, place in zip(gathered.rows, gathered.places, strict=True)
        if (fold_of(gathered.examples[place].post.id, folds) == fold) is out
    ]
    return replace(gathered, rows=tuple(r for r, _ in kept), places=tuple(p for _, p in kept))


def _write(file: IO[bytes], gathered: Gathered, said: dict[str, tuple[float, ...]]) -> None:
    rows: dict[int, list[Row]] = {}
    for row, place in zip(gathered.rows, gathered.places, strict=True):
        rows.setdefault(place, []).append(row)
    for place, own in rows.items():
        opinions = [_opinion(row, said[row.id]) for row in own]
        example = gathered.examples[place].model_copy(update={"opinions": tuple(opinions)})
        file.write(example.model_dump_json(exclude_defaults=True).encode() + b"\n")


def _opinion(row: Row, shares: tuple[float, ...]) -> Opinion:
    probs: dict[Polarity, float] = dict(zip(CLASSES, shares, strict=True))
    says = max(CLASSES, key=lambda c: probs[c])
    return Opinion(by=BY, aspect=row.aspect, polarity=says, probs=probs)
