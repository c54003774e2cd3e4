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
from gen_msa.distilling.judging import validate
from gen_msa.distilling.making import required_inputs, build_collator, build_student
from gen_msa.distilling.recipe import DistillRecipe
from gen_msa.distilling.rows import DistillDataset, build_dataset
from gen_msa.distilling.sharing import ProcessGroup
from gen_msa.distilling.stepping import StudentTrainStep
from gen_msa.distilling.teaching import FrozenTeacher
from gen_msa.distilling.telling import NullRunLogger, StudentRunLogger
from gen_msa.errors import Diverged, UserError
from gen_msa.students import Output, HasRowMemory, AspectExample
from gen_msa.students.common import keeping, minilm

__all__ = ["Diverged", "DistillRun", "distill"]


def distill(recipe: DistillRecipe, *, dry_run: bool = False, tokenizer: Path | None = None) -> Path:
    """Train a student by a recipe; the folder of the best one.

    `dry_run` plans, tries the longest batch and writes nothing. `tokenizer`: a `tokenizer.json`
    other than the packaged one. A run that was killed goes on where it last judged. Raises
    `UserError` for what cannot start, another run's checkpoint in `output_dir` among it, and
    `Diverged` (exit code 4) when a loss or gradient is not a number.
    """
    tokenizer_path = tokenizer or minilm.tokenizer_path()
    group = sharing.init_process_group()
    run = _train_once(recipe, tokenizer_path, group, dry_run=dry_run)
    if recipe.cross_fit_folds and not dry_run:
        crossfitting.cross_fit(
            recipe,
            run.train_sets,
            lambda fold_recipe, rows: _train_once(fold_recipe, tokenizer_path, group, train_sets=rows).student_folder,
            write=group.is_main,
        )
    return run.student_folder


def _train_once(
    recipe: DistillRecipe,
    tokenizer: Path,
    group: ProcessGroup,
    *,
    train_sets: list[DistillDataset] | None = None,
    dry_run: bool = False,
) -> "DistillRun":
    # The caller's random state is as before after it.
    with torch.random.fork_rng(devices=[group.device] if group.device.type == "cuda" else []):
        torch.manual_seed(recipe.seed)
        run = DistillRun(recipe, tokenizer, train_sets=train_sets, group=group)
        if train_sets is None:
            run.probe()
        if not dry_run:
            run.train()
    return run


class DistillRun:
    """One training run, as one process of it sees it."""

    def __init__(
        self,
        recipe: DistillRecipe,
        tokenizer: Path,
        train_sets: list[DistillDataset] | None = None,
        group: ProcessGroup | None = None,
    ) -> None:
        """`learned`: rows in place of those that the recipe names; `crew` None: this process."""
        self.recipe = recipe
        self.group = group or sharing.init_process_group()
        self.student_folder = Path(recipe.output_dir) / "student"
        self.teacher = _load_teacher(recipe, self.group)
        required = required_inputs(recipe, self.teacher)
        self.train_sets = train_sets or [build_dataset(d, recipe, required) for d in recipe.data]
        self.dev_sets = [build_dataset(d, recipe, required) for d in recipe.dev]
        self.rows = [r for g in self.train_sets for r in g.rows]
        self.collator = build_collator(recipe, tokenizer, [*self.rows, *_all_rows(self.dev_sets)])
        self.student, new_params, self.pretrained_from = build_student(recipe, self.collator)
        module: Any = self.student
        self.module = module.to(self.group.device)
        self.num_params = sum(p.numel() for p in module.parameters())
        size = recipe.per_device_train_batch_size
        self.epoch_steps = -(-len(self.rows) // size)
        self.steps = self.epoch_steps * recipe.num_train_epochs
        self.train_step = StudentTrainStep(
            self.student, recipe, steps=self.steps, rows=self.rows, new_params=new_params, group=self.group
        )
        self.lengths = [self.collator.length(r) for r in self.rows]
        self.state = resuming.StudentTrainState(self._deciding())
        self.group.assert_equal_across_ranks("rows", sha256(json.dumps(self.state.settings).encode()).hexdigest())
        self.logger = (StudentRunLogger if self.group.is_main else NullRunLogger)(Path(recipe.output_dir))
        sources = [*self.train_sets, *self.dev_sets]
        self.logger.log_start(recipe, sources, num_params=self.num_params, pretrained_from=self.pretrained_from)

    def probe(self) -> None:
        """Forward and backward on the longest batch, so that what cannot work fails now."""
        order = sorted(range(len(self.rows)), key=lambda i: -self.lengths[i])
        longest = [self.rows[i] for i in order[: self.recipe.per_device_train_batch_size]]
        with torch.random.fork_rng(devices=[]):
            loss = self.train_step.probe(self.collator(longest), self._teacher_output(longest))
        cut = sum(map(self.collator.is_truncated, self.rows))
        self.logger.log_plan(self.steps, cut, loss)

    def train(self) -> None:
        """All steps that are still to do; judged and kept as the recipe says."""
        folder = Path(self.recipe.output_dir) / "checkpoint"
        train_step = self.train_step
        self.group.seed_per_rank(self.recipe.seed)
        self._resume(folder)
        rows_since_log, losses = 0, list[float]()
        for step, (epoch, rows) in enumerate(self._batches(), 1):
            if step <= self.state.step:
                continue
            train_step.set_epoch(epoch)
            learning_rate = train_step.learning_rate
            losses.append(train_step.run(self.collator(rows), self._teacher_output(rows)))
            rows_since_log += len(rows)
            if step % self.recipe.logging_steps == 0 or step == self.steps:
                loss, epochs_done = sum(losses) / len(losses), step / self.epoch_steps
                self.logger.log_step(step, epoch=epochs_done, loss=loss, learning_rate=learning_rate, rows=rows_since_log)
                rows_since_log, losses = 0, []
            if step % (self.recipe.eval_steps or self.epoch_steps) == 0 or step == self.steps:
                self._validate(step)
                self.state.step = step
                self._save_checkpoint(folder)
        if self.teacher:
            self.teacher.check()
        self.group.barrier()
        if self.group.is_main:
            resuming.delete_checkpoint(folder)
        self.logger.log_end(self.student_folder, self.state.best_step)

    def _teacher_output(self, rows: list[AspectExample]) -> Output | None:
        return self.teacher(rows)[1] if self.teacher else None

    def _deciding(self) -> dict[str, Any]:
        """Everything that decides the run, flat: recipe, rows, first weights, our version."""
        return {
            **self.recipe.deciding(),
            "teacher (sha256)": self.teacher.loaded.revision if self.teacher else "",
            resuming.DATA: " ".init_process_group(dataset.sha256[:16] for dataset in self.train_sets),
            "dev (sha256)": " ".init_process_group(dataset.sha256[:16] for dataset in self.dev_sets),
            "first weights": self.pretrained_from,
            "gen_msa": __version__,
            "torch": str(torch.__version__),
            "device": self.group.device.type,
            "processes": self.group.world_size,
            resuming.STEPS: self.steps,
        }

    def _batches(self) -> Iterator[tuple[int, list[AspectExample]]]:
        """The epoch and the rows of every step."""
        size, epochs = self.recipe.per_device_train_batch_size, self.recipe.num_train_epochs
        order = ordering.epoch_batches(self.lengths, size=size, epochs=epochs, seed=self.recipe.seed)
        return ((epoch, [self.rows[i] for i in batch]) for epoch, batch in order)

    def _validate(self, step: int) -> None:
        """Read the dev rows; keep the student if it is the best so far, or if none are read."""
        self.train_step.check_weights()
        validates = self.dev_sets and self.group.is_main
        metrics = validate(self.student, self.collator, self.dev_sets) if validates else None
        score = self.group.broadcast(metrics["score"] if metrics else float(step))
        better = score > self.state.best_score
        if metrics:
            self.logger.log_validation(step, metrics, best=better)
        if better:
            self.state.best_score, self.state.best_step = score, step
            if self.group.is_main:
                self._save_best(step, metrics)

    def _save_best(self, step: int, metrics: dict[str, Any] | None) -> None:
        recipe = self.recipe
        facts = card.StudentCard(recipe, self.train_sets, metrics, step, self.num_params, self.pretrained_from)
        try:
            with manifest.atomic_directory(self.student_folder) as staging:
                keeping.save_student(
                    staging,
                    self.student,
                    self.collator,
                    text=recipe.text,
                    name=recipe.student,
                    cues=recipe.cues,
                )
                card.write_card(staging, card_data)
        except OSError as e:
            raise UserError(
                f"the student {self.student_folder} cannot be written: {e}",
                hint="make room, or choose another output_dir",
            ) from None

    @property
    def _stateful(self) -> resuming.Stateful:
        memory = self.module.memory if isinstance(self.module, HasRowMemory) else {}
        return resuming.Stateful(self.module, self.train_step.optimizers, memory)

    def _resume(self, folder: Path) -> None:
        """From the last whole checkpoint of this run; one of another raises `UserError`."""
        if self.group.is_main:
            manifest.recover(folder)
        self.group.barrier()
        if not self.recipe.resume:
            return self.logger.replacing(folder)
        now = self.state.settings
        for fold in range(self.recipe.cross_fit_folds):
            # Trained after the student, with fewer rows.
            helper = crossfitting.folder(self.recipe, fold) / folder.name
            resuming.check_weights(helper, now, besides=(resuming.DATA, resuming.STEPS))
        self.state, rng_states, changed = resuming.restore(folder, now, self._stateful)
        self.group.assert_equal_across_ranks("checkpoint", f"{self.state.step:016x}")
        self.group.restore_rng(rng_states)
        self.logger.log_resume(self.state.step, changed)

    def _save_checkpoint(self, folder: Path) -> None:
        rng_states = self.group.rng_states()
        if not self.group.is_main:
            return
        try:
            resuming.save_checkpoint(folder, self.state, self._stateful, rng_states)
        except OSError as e:
            raise UserError(
                f"the checkpoint {folder} cannot be written: {e}",
                hint="make room, then run again: it goes on from the last whole one",
            ) from None


def _load_teacher(recipe: DistillRecipe, group: ProcessGroup) -> FrozenTeacher | None:
    if not recipe.teacher:
        return None
    return FrozenTeacher(Path(recipe.teacher), select_rows=group.local_rows, device=group.device)


def _all_rows(datasets: list[DistillDataset]) -> list[AspectExample]:
    return [r for dataset in datasets for r in dataset.rows]
