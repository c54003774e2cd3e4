"""The run: rows, student, teacher, probe, steps, judging, keeping the best.

On a CPU the same recipe gives the same bytes, also after a kill. Several processes hold the same
student and rows, and share each batch (`sharing`). Knows nothing of tokens and of what a student is
made of.

    distil(load("text", ["output_dir=students/text"]))      # Path of the student's folder
"""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from gen_msa import __version__, manifest
from gen_msa.distilling import card, crossfitting, ordering, resuming, sharing
from gen_msa.distilling.judging import judge
from gen_msa.distilling.making import asked_for, collate_for, made
from gen_msa.distilling.recipe import Recipe
from gen_msa.distilling.rows import Gathered, gather
from gen_msa.distilling.sharing import Crew
from gen_msa.distilling.stepping import Stepper
from gen_msa.distilling.teaching import Teacher
from gen_msa.distilling.telling import Silent, Teller
from gen_msa.errors import Diverged, UserError
from gen_msa.students import Output, Remembering, Row
from gen_msa.students.common import keeping, minilm

__all__ = ["Diverged", "Run", "distil"]


def distil(recipe: Recipe, *, dry_run: bool = False, tokenizer: Path | None = None) -> Path:
    """Train a student by a recipe; the folder of the best one.

    `dry_run` plans, tries the longest batch and writes nothing. `tokenizer`: a `tokenizer.json`
    other than the packaged one. A run that was killed goes on where it last judged. Raises
    `UserError` for what cannot start, another run's checkpoint in `output_dir` among it, and
    `Diverged` (exit code 4) when a loss or gradient is not a number.
    """
    words = tokenizer or minilm.tokenizer()
    crew = sharing.join()
    run = _ran(recipe, words, crew, dry_run=dry_run)
    if recipe.folds and not dry_run:
        crossfitting.fit(
            recipe,
            run.learned,
            lambda one, rows: _ran(one, words, crew, learned=rows).kept,
            write=crew.main,
        )
    return run.kept


def _ran(
    recipe: Recipe,
    tokenizer: Path,
    crew: Crew,
    *,
    learned: list[Gathered] | None = None,
    dry_run: bool = False,
) -> "Run":
    # The caller's random state is as before after it.
    with torch.random.fork_rng(devices=[crew.device] if crew.device.type == "cuda" else []):
        torch.manual_seed(recipe.seed)
        run = Run(recipe, tokenizer, learned=learned, crew=crew)
        if learned is None:
            run.probe()
        if not dry_run:
            run.train()
    return run


class Run:
    """One training run, as one process of it sees it."""

    def __init__(
        self,
        recipe: Recipe,
        tokenizer: Path,
        learned: list[Gathered] | None = None,
        crew: Crew | None = None,
    ) -> None:
        """`learned`: rows in place of those that the recipe names; `crew` None: this process."""
        self.recipe = recipe
        self.crew = crew or sharing.join()
        self.kept = Path(recipe.output_dir) / "student"
        self.teacher = _teacher(recipe, self.crew)
        asked = asked_for(recipe, self.teacher)
        self.learned = learned or [gather(d, recipe, asked) for d in recipe.data]
        self.devs = [gather(d, recipe, asked) for d in recipe.dev]
        self.rows = [r for g in self.learned for r in g.rows]
        self.collate = collate_for(recipe, tokenizer, [*self.rows, *_all(self.devs)])
        self.student, fresh, self.warm = made(recipe, self.collate)
        module: Any = self.student
        self.module = module.to(self.crew.device)
        self.parameters = sum(p.numel() for p in module.parameters())
        size = recipe.per_device_train_batch_size
        self.epoch_steps = -(-len(self.rows) // size)
        self.steps = self.epoch_steps * recipe.num_train_epochs
        self.stepper = Stepper(
            self.student, recipe, steps=self.steps, rows=self.rows, fresh=fresh, crew=self.crew
        )
        self.lengths = [self.collate.length(r) for r in self.rows]
        self.stand = resuming.Stand(self._deciding())
        self.crew.agree("rows", sha256(json.dumps(self.stand.settings).encode()).hexdigest())
        self.teller = (Teller if self.crew.main else Silent)(Path(recipe.output_dir))
        sources = [*self.learned, *self.devs]
        self.teller.opening(recipe, sources, parameters=self.parameters, warm=self.warm)

    def probe(self) -> None:
        """Forward and backward on the longest batch, so that what cannot work fails now."""
        order = sorted(range(len(self.rows)), key=lambda i: -self.lengths[i])
        longest = [self.rows[i] for i in order[: self.recipe.per_device_train_batch_size]]
        with torch.random.fork_rng(devices=[]):
            loss = self.stepper.probe(self.collate(longest), self._taught(longest))
        cut = sum(map(self.collate.cut, self.rows))
        self.teller.planned(self.steps, cut, loss)

    def train(self) -> None:
        """All steps that are still to do; judged and kept as the recipe says."""
        at = Path(self.recipe.output_dir) / "checkpoint"
        stepper = self.stepper
        self.crew.draw_apart(self.recipe.seed)
        self._go_on(at)
        since, losses = 0, list[float]()
        for step, (epoch, rows) in enumerate(self._batches(), 1):
            if step <= self.stand.step:
                continue
            stepper.begin(epoch)
            rate = stepper.rate
            losses.append(stepper.step(self.collate(rows), self._taught(rows)))
            since += len(rows)
            if step % self.recipe.logging_steps == 0 or step == self.steps:
                loss, done = sum(losses) / len(losses), step / self.epoch_steps
                self.teller.step(step, epoch=done, loss=loss, rate=rate, rows=since)
                since, losses = 0, []
            if step % (self.recipe.eval_steps or self.epoch_steps) == 0 or step == self.steps:
                self._judge(step)
                self.stand.step = step
                self._save(at)
        if self.teacher:
            self.teacher.check()
        self.crew.wait()
        if self.crew.main:
            resuming.forget(at)
        self.teller.end(self.kept, self.stand.best_step)

    def _taught(self, rows: list[Row]) -> Output | None:
        return self.teacher(rows)[1] if self.teacher else None

    def _deciding(self) -> dict[str, Any]:
        """Everything that decides the run, flat: recipe, rows, first weights, our version."""
        return {
            **self.recipe.deciding(),
            "teacher (sha256)": self.teacher.opened.revision if self.teacher else "",
            resuming.DATA: " ".join(g.sha256[:16] for g in self.learned),
            "dev (sha256)": " ".join(g.sha256[:16] for g in self.devs),
            "first weights": self.warm,
            "gen_msa": __version__,
            "torch": str(torch.__version__),
            "device": self.crew.device.type,
            "processes": self.crew.size,
            resuming.STEPS: self.steps,
        }

    def _batches(self) -> Iterator[tuple[int, list[Row]]]:
        """The epoch and the rows of every step."""
        size, epochs = self.recipe.per_device_train_batch_size, self.recipe.num_train_epochs
        order = ordering.batches(self.lengths, size=size, epochs=epochs, seed=self.recipe.seed)
        return ((epoch, [self.rows[i] for i in batch]) for epoch, batch in order)

    def _judge(self, step: int) -> None:
        """Read the dev rows; keep the student if it is the best so far, or if none are read."""
        self.stepper.check()
        asked = self.devs and self.crew.main
        told = judge(self.student, self.collate, self.devs) if asked else None
        score = self.crew.from_main(told["score"] if told else float(step))
        better = score > self.stand.best
        if told:
            self.teller.judged(step, told, best=better)
        if better:
            self.stand.best, self.stand.best_step = score, step
            if self.crew.main:
                self._keep(step, told)

    def _keep(self, step: int, told: dict[str, Any] | None) -> None:
        recipe = self.recipe
        facts = card.Facts(recipe, self.learned, told, step, self.parameters, self.warm)
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

    @property
    def _parts(self) -> resuming.Parts:
        memory = self.module.memory if isinstance(self.module, Remembering) else {}
        return resuming.Parts(self.module, self.stepper.state, memory)

    def _go_on(self, folder: Path) -> None:
        """From the last whole checkpoint of this run; one of another raises `UserError`."""
        if self.crew.main:
            manifest.restore(folder)
        self.crew.wait()
        if not self.recipe.resume:
            return self.teller.replacing(folder)
        now = self.stand.settings
        for fold in range(self.recipe.folds):
            # Trained after the student, with fewer rows.
            helper = crossfitting.folder(self.recipe, fold) / folder.name
            resuming.check(helper, now, besides=(resuming.DATA, resuming.STEPS))
        self.stand, states, changed = resuming.restore(folder, now, self._parts)
        self.crew.agree("checkpoint", f"{self.stand.step:016x}")
        self.crew.go_on_from(states)
        self.teller.going_on(self.stand.step, changed)

    def _save(self, folder: Path) -> None:
        states = self.crew.states()
        if not self.crew.main:
            return
        try:
            resuming.save(folder, self.stand, self._parts, states)
        except OSError as e:
            raise UserError(
                f"the checkpoint {folder} cannot be written: {e}",
                mend="make room, then run again: it goes on from the last whole one",
            ) from None


def _teacher(recipe: Recipe, crew: Crew) -> Teacher | None:
    if not recipe.teacher:
        return None
    return Teacher(Path(recipe.teacher), part=crew.part, device=crew.device)


def _all(gathered: list[Gathered]) -> list[Row]:
    return [r for g in gathered for r in g.rows]
