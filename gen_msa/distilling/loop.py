"""The run: rows, student, probe, steps, judging, keeping the best.

Plain torch on the CPU; the same recipe gives the same bytes. Knows nothing of tokens and of what
a student is made of.

    distil(load("text", ["output_dir=students/text"]))      # Path of the student's folder
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from gen_msa import manifest
from gen_msa.distilling import card
from gen_msa.distilling.judging import judge
from gen_msa.distilling.recipe import Recipe
from gen_msa.distilling.rows import gather
from gen_msa.distilling.stepping import Stepper
from gen_msa.distilling.telling import Teller
from gen_msa.errors import Diverged, UserError
from gen_msa.students import Row, Sizes, Student, students
from gen_msa.students.common import keeping, minilm
from gen_msa.students.common.collating import Words

__all__ = ["Diverged", "Run", "distil"]

_TOGETHER = 16
"""Batches whose rows are sorted by length together, so that little is padding."""


def distil(recipe: Recipe, *, dry_run: bool = False, tokenizer: Path | None = None) -> Path:
    """Train a student by a recipe; the folder of the best one.

    `dry_run` plans, tries the longest batch and writes nothing. `tokenizer`: a `tokenizer.json`
    other than the packaged one. Raises `UserError` for what cannot start, and `Diverged` (exit code
    4) when a loss or gradient is not a number.
    """
    # The caller's random state is as before after it.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        run = Run(recipe, tokenizer or minilm.tokenizer())
        run.probe()
        if not dry_run:
            run.train()
    return run.kept


class Run:
    """One training run of one process."""

    def __init__(self, recipe: Recipe, tokenizer: Path) -> None:
        self.recipe = recipe
        self.kept = Path(recipe.output_dir) / "student"
        self.learned = [gather(d, recipe) for d in recipe.data]
        self.devs = [gather(d, recipe) for d in recipe.dev]
        self.rows = [r for g in self.learned for r in g.rows]
        self.collate = Words(
            tokenizer.read_text(encoding="utf-8"),
            max_length=recipe.max_length,
            mask_labels=recipe.mask_labels,
        )
        self.student, fresh, self.warm = _made(recipe, self.collate)
        module: Any = self.student
        self.parameters = sum(p.numel() for p in module.parameters())
        size = recipe.per_device_train_batch_size
        self.epoch_steps = -(-len(self.rows) // size)
        self.steps = self.epoch_steps * recipe.num_train_epochs
        self.stepper = Stepper(self.student, recipe, steps=self.steps, rows=self.rows, fresh=fresh)
        self.lengths = [self.collate.length(r) for r in self.rows]
        self.best, self.best_step = -1.0, 0
        self.teller = Teller(Path(recipe.output_dir))
        sources = [*self.learned, *self.devs]
        self.teller.opening(recipe, sources, parameters=self.parameters, warm=self.warm)

    def probe(self) -> None:
        """Forward and backward on the longest batch, so that what cannot work fails now."""
        order = sorted(range(len(self.rows)), key=lambda i: -self.lengths[i])
        longest = [self.rows[i] for i in order[: self.recipe.per_device_train_batch_size]]
        with torch.random.fork_rng(devices=[]):
            loss = self.stepper.backward(self.collate(longest))
        cut = sum(map(self.collate.cut, self.rows))
        self.teller.planned(self.steps, cut, loss)

    def train(self) -> None:
        """All steps; judged and kept as the recipe says."""
        since, losses = 0, list[float]()
        for step, rows in enumerate(self._batches(), 1):
            rate = self.stepper.rate
            losses.append(self.stepper.step(self.collate(rows)))
            since += len(rows)
            if step % self.recipe.logging_steps == 0 or step == self.steps:
                loss, epoch = sum(losses) / len(losses), step / self.epoch_steps
                self.teller.step(step, epoch=epoch, loss=loss, rate=rate, rows=since)
                since, losses = 0, []
            if step % (self.recipe.eval_steps or self.epoch_steps) == 0 or step == self.steps:
                self._judge(step)
        self.teller.end(self.kept, self.best_step)

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
        better = score > self.best
        if told:
            self.teller.judged(step, told, best=better)
        if better:
            self.best, self.best_step = score, step
            self._keep(step, told)

    def _keep(self, step: int, told: dict[str, Any] | None) -> None:
        facts = card.Facts(self.recipe, self.learned, told, step, self.parameters, self.warm)
        recipe = self.recipe
        try:
            with manifest.staged(self.kept) as draft:
                keeping.write(
                    draft, self.student, self.collate, text=recipe.text, name=recipe.student
                )
                card.write(draft, facts)
        except OSError as e:
            raise UserError(
                f"the student {self.kept} cannot be written: {e}",
                mend="make room, or choose another output_dir",
            ) from None


def _made(recipe: Recipe, collate: Words) -> tuple[Student, set[str], str]:
    """The student, the names of its tensors that began new, and what the others began with."""
    sizes = Sizes(width={"text": collate.vocabulary})
    try:
        student = students[recipe.student](sizes, **recipe.numbers)
    except (TypeError, ValueError) as e:
        raise UserError(f"numbers: {e}", mend=f"see gen-msa show {recipe.student}") from None
    module: Any = student
    before = {n: p.detach().clone() for n, p in module.named_parameters()}
    warm = student.warm_up() if recipe.warm else ""
    fresh = {n for n, p in module.named_parameters() if torch.equal(before[n], p)}
    return student, fresh if warm else set(), warm
