"""The run: rows, student, teacher, probe, steps, judging, keeping the best.

Plain torch on the CPU; the same recipe gives the same bytes, also after a kill. Knows nothing of
tokens and of what a student is made of.

    distil(load("text", ["output_dir=students/text"]))      # Path of the student's folder
"""

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from gen_msa import __version__, manifest
from gen_msa.distilling import card, crossfitting, resuming
from gen_msa.distilling.filling import Asked
from gen_msa.distilling.judging import judge
from gen_msa.distilling.making import collate_for, made
from gen_msa.distilling.recipe import Recipe
from gen_msa.distilling.rows import Gathered, gather
from gen_msa.distilling.stepping import Stepper
from gen_msa.distilling.teaching import Teacher
from gen_msa.distilling.telling import Teller
from gen_msa.errors import Diverged, UserError
from gen_msa.students import Output, Row
from gen_msa.students.common import keeping, minilm

__all__ = ["Diverged", "Run", "distil"]

_TOGETHER = 16
"""Batches whose rows are sorted by length together, so that little is padding."""


def distil(recipe: Recipe, *, dry_run: bool = False, tokenizer: Path | None = None) -> Path:
    """Train a student by a recipe; the folder of the best one.

    `dry_run` plans, tries the longest batch and writes nothing. `tokenizer`: a `tokenizer.json`
    other than the packaged one. A run that was killed goes on where it last judged. Raises
    `UserError` for what cannot start, and `Diverged` (exit code 4) when a loss or gradient is not a
    number.
    """
    # The caller's random state is as before after it.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        words = tokenizer or minilm.tokenizer()
        run = Run(recipe, words)
        run.probe()
        if not dry_run:
            run.train()
    if recipe.folds and not dry_run:
        crossfitting.fit(recipe, run.learned, lambda one, rows: _helper(one, rows, words))
    return run.kept


def _helper(recipe: Recipe, rows: list[Gathered], tokenizer: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        run = Run(recipe, tokenizer, learned=rows)
        run.train()
    return run.kept


class Run:
    """One training run of one process."""

    def __init__(
        self, recipe: Recipe, tokenizer: Path, learned: list[Gathered] | None = None
    ) -> None:
        """`learned`: rows in place of those that the recipe names."""
        self.recipe = recipe
        self.kept = Path(recipe.output_dir) / "student"
        self.teacher = Teacher(Path(recipe.teacher)) if recipe.teacher else None
        asked = _asked(recipe, self.teacher)
        self.learned = learned or [gather(d, recipe, asked) for d in recipe.data]
        self.devs = [gather(d, recipe, asked) for d in recipe.dev]
        self.rows = [r for g in self.learned for r in g.rows]
        self.collate = collate_for(recipe, tokenizer, [*self.rows, *_all(self.devs)])
        self.student, fresh, self.warm = made(recipe, self.collate)
        module: Any = self.student
        self.module = module
        self.parameters = sum(p.numel() for p in module.parameters())
        size = recipe.per_device_train_batch_size
        self.epoch_steps = -(-len(self.rows) // size)
        self.steps = self.epoch_steps * recipe.num_train_epochs
        self.stepper = Stepper(self.student, recipe, steps=self.steps, rows=self.rows, fresh=fresh)
        self.lengths = [self.collate.length(r) for r in self.rows]
        self.stand = resuming.Stand(self._key())
        self.teller = Teller(Path(recipe.output_dir))
        sources = [*self.learned, *self.devs]
        self.teller.opening(recipe, sources, parameters=self.parameters, warm=self.warm)

    def probe(self) -> None:
        """Forward and backward on the longest batch, so that what cannot work fails now."""
        order = sorted(range(len(self.rows)), key=lambda i: -self.lengths[i])
        longest = [self.rows[i] for i in order[: self.recipe.per_device_train_batch_size]]
        with torch.random.fork_rng(devices=[]):
            loss = self.stepper.backward(self.collate(longest), self._taught(longest))
        cut = sum(map(self.collate.cut, self.rows))
        self.teller.planned(self.steps, cut, loss)

    def train(self) -> None:
        """All steps that are still to do; judged and kept as the recipe says."""
        at = Path(self.recipe.output_dir) / "checkpoint"
        stepper = self.stepper
        self.stand = resuming.restore(at, self.stand.key, self.module, *stepper.state)
        self.teller.going_on(self.stand.step)
        since, losses = 0, list[float]()
        for step, rows in enumerate(self._batches(), 1):
            if step <= self.stand.step:
                continue
            rate = stepper.rate
            losses.append(stepper.step(self.collate(rows), self._taught(rows)))
            since += len(rows)
            if step % self.recipe.logging_steps == 0 or step == self.steps:
                loss, epoch = sum(losses) / len(losses), step / self.epoch_steps
                self.teller.step(step, epoch=epoch, loss=loss, rate=rate, rows=since)
                since, losses = 0, []
            if step % (self.recipe.eval_steps or self.epoch_steps) == 0 or step == self.steps:
                self._judge(step)
                self.stand.step = step
                self._save(at)
        if self.teacher:
            self.teacher.check()
        resuming.forget(at)
        self.teller.end(self.kept, self.stand.best_step)

    def _taught(self, rows: list[Row]) -> Output | None:
        return self.teacher(rows)[1] if self.teacher else None

    def _key(self) -> str:
        """Over everything that decides the run: recipe, rows, first weights, our version."""
        facts = [self.recipe.model_dump_json(), __version__, torch.__version__, self.warm]
        facts += [g.sha256 for g in (*self.learned, *self.devs)]
        facts += [self.teacher.opened.revision] if self.teacher else []
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def _batches(self) -> Iterator[list[Row]]:
        """The rows of every step; each epoch has each row once, in an order of its own."""
        size = self.recipe.per_device_train_batch_size
        for epoch in range(self.recipe.num_train_epochs):
            draw = random.Random(f"{self.recipe.seed}/{epoch}")
            order = draw.sample(range(len(self.rows)), len(self.rows))
            chunks = [
                order[i : i + size * _TOGETHER] for i in range(0, len(order), size * _TOGETHER)
            ]
            order = [i for c in chunks for i in sorted(c, key=lambda i: self.lengths[i])]
            batches = [order[i : i + size] for i in range(0, len(order), size)]
            for batch in draw.sample(batches, len(batches)):
                yield [self.rows[i] for i in batch]

    def _judge(self, step: int) -> None:
        """Read the dev rows; keep the student if it is the best so far, or if none are read."""
        self.stepper.check()
        told = judge(self.student, self.collate, self.devs) if self.devs else None
        score = told["score"] if told else float(step)
        better = score > self.stand.best
        if told:
            self.teller.judged(step, told, best=better)
        if better:
            self.stand.best, self.stand.best_step = score, step
            self._keep(step, told)

    def _keep(self, step: int, told: dict[str, Any] | None) -> None:
        facts = card.Facts(self.recipe, self.learned, told, step, self.parameters, self.warm)
        recipe = self.recipe
        try:
            with manifest.staged(self.kept) as draft:
                keeping.write(
                    draft,
                    self.student,
                    self.collate,
                    text=recipe.text,
                    name=recipe.student,
                    cues=recipe.cues,
                )
                card.write(draft, facts)
        except OSError as e:
            raise UserError(
                f"the student {self.kept} cannot be written: {e}",
                mend="make room, or choose another output_dir",
            ) from None

    def _save(self, folder: Path) -> None:
        try:
            resuming.save(folder, self.stand, self.module, *self.stepper.state)
        except OSError as e:
            raise UserError(
                f"the checkpoint {folder} cannot be written: {e}",
                mend="make room, then run again: it goes on from the last whole one",
            ) from None


def _asked(recipe: Recipe, teacher: Teacher | None) -> Asked:
    """What rows are to carry for the student, and for its teacher beside it."""
    from gen_msa.students import students

    kind: Any = students[recipe.student]
    reads, cues = tuple(kind.reads), dict(recipe.cues)
    if teacher:
        reads += tuple(r for r in teacher.opened.student.reads if r not in reads)
        theirs = teacher.opened.kept.cues
        if cues and theirs and theirs != cues:
            raise UserError("student and teacher have different cues", mend="give both the same")
        cues = cues or theirs
    return Asked(reads, cues)


def _all(gathered: list[Gathered]) -> list[Row]:
    return [r for g in gathered for r in g.rows]
