"""The run: rows, student, teacher, probe, steps, judging, keeping the best.

On a CPU the same recipe gives the same bytes, also after a kill. Several processes hold the same
student and rows, and share each batch (`sharing`). Knows nothing of tokens and of what a student is
made of.

    distil(load("text", ["output_dir=students/text"]))      # Path of the student's folder
"""

import json
import random
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from gen_msa import __version__, manifest
from gen_msa.distillation import cross_fitting, model_card
from gen_msa.distillation.dataset import DistillDataset, RequiredInputs, build_dataset
from gen_msa.distillation.recipe import DistillRecipe
from gen_msa.distillation.run_log import NullRunLogger, StudentRunLogger
from gen_msa.distillation.teachers import FrozenTeacher
from gen_msa.distillation.train_step import StudentTrainStep
from gen_msa.encoders.text import minilm
from gen_msa.errors import Diverged, UserError
from gen_msa.metrics.labels import Scores, score_labels
from gen_msa.models import CLASSES, AspectExample, HasRowMemory, InputDims, Model, Output, models
from gen_msa.models.inference import serialization
from gen_msa.models.inference.predict import predict_probabilities
from gen_msa.models.inputs.collator import Collator
from gen_msa.training import data_parallel, student_checkpoint
from gen_msa.training.data_parallel import ProcessGroup
from gen_msa.types import Polarity

# A student, its collate and what its rows carry, made as a recipe says.


def required_inputs(recipe: DistillRecipe, teacher: FrozenTeacher | None) -> RequiredInputs:
    """What rows are to carry for the student, and for its teacher beside it.

    Raises `UserError` when the two were shown different cues.
    """
    model_class: Any = models[recipe.student]
    modalities, cues = tuple(model_class.modalities), dict(recipe.cues)
    if teacher:
        modalities += tuple(r for r in teacher.loaded.student.modalities if r not in modalities)
        teacher_cues = teacher.loaded.config.cues
        if cues and teacher_cues and teacher_cues != cues:
            raise UserError("student and teacher have different cues", hint="give both the same")
        cues = cues or teacher_cues
    return RequiredInputs(modalities, cues)


def build_collator(
    recipe: DistillRecipe, tokenizer: Path, rows: Sequence[AspectExample]
) -> Collator:
    """What makes batches of `rows`: every modality that the student reads, as wide as they have it.

    Raises `UserError` for a modality that no row has.
    """
    model_class: Any = models[recipe.student]
    widths: dict[str, int] = {}
    source = tokenizer.read_text(encoding="utf-8")
    for name in model_class.modalities:
        if name == "text":
            continue
        if name == "context":
            widths[name] = Collator(source).vocab_size
            continue
        shapes = (r.inputs[name].shape for r in rows if name in r.inputs)
        if (shape := next(shapes, None)) is None:
            raise UserError(f"{recipe.student} reads {name}, and no row has any")
        widths[name] = int(shape[1])
    return Collator(
        source,
        max_length=recipe.max_length,
        mask_labels=recipe.mask_labels,
        widths=widths,
        append_context=bool(recipe.cues) and "context" not in model_class.modalities,
    )


def build_student(recipe: DistillRecipe, collator: Collator) -> tuple[Model, set[str], str]:
    """The student, the names of its tensors that began new, and what the others began with."""
    input_dims = InputDims(width={"text": collator.vocab_size, **collator.widths})
    try:
        student = models[recipe.student](input_dims, **recipe.config)
    except (TypeError, ValueError) as e:
        raise UserError(f"config: {e}", hint=f"see gen-msa show {recipe.student}") from None
    module: Any = student
    initial = {n: p.detach().clone() for n, p in module.named_parameters()}
    pretrained_from = student.load_pretrained() if recipe.pretrained else ""
    new_params = {n for n, p in module.named_parameters() if torch.equal(initial[n], p)}
    return student, new_params if pretrained_from else set(), pretrained_from


# How good the student is now: the dev rows are read as a reader reads them, and compared.


def validate(
    student: Model, collator: Collator, dev_sets: Sequence[DistillDataset]
) -> dict[str, Any]:
    """Figures of each dev source with n, interval and data hash, as plain JSON; shares in 0..1.

    `score` is the mean of the sources' macro-F1.
    """
    sources = [_source_metrics(d, _dev_scores(student, collator, d)) for d in dev_sets]
    return {"score": sum(s["macro_f1"] for s in sources) / len(sources), "sources": sources}


def _dev_scores(student: Model, collator: Collator, dev_set: DistillDataset) -> Scores:
    probs = predict_probabilities(student, collator, dev_set.rows)
    # NaN is no answer: every comparison with it is false.
    predicted: list[Polarity | None] = [
        CLASSES[row.index(max(row))] if sum(row) > 0 else None for row in probs
    ]
    return score_labels([r.target for r in dev_set.rows if r.target is not None], predicted)


def _source_metrics(dev_set: DistillDataset, scores: Scores) -> dict[str, Any]:
    return {
        "source": dev_set.source,
        "labels": dev_set.labels,
        "data_sha256": dev_set.sha256,
        "left_out": dict(dev_set.left_out),
        "n": scores.n,
        "accuracy": scores.accuracy,
        "accuracy_95": list(scores.interval),
        "macro_f1": scores.macro_f1,
        "f1": {str(p): v for p, v in scores.f1.items()},
        "confusion": {
            str(g): {str(a or "unread"): n for a, n in row.items()}
            for g, row in scores.confusion.items()
        },
    }


# The order of rows: each epoch has each row once, in an order of its own, the same in every run.

_BUCKET_BATCHES = 16
"""Batches whose rows are sorted by length together, so that little is padding."""


def epoch_batches(
    lengths: Sequence[int], *, size: int, epochs: int, seed: int
) -> Iterator[tuple[int, list[int]]]:
    """The epoch (from 0) and the rows of every step; the last batch of an epoch may be smaller."""
    for epoch in range(epochs):
        rng = random.Random(f"{seed}/{epoch}")
        order = rng.sample(range(len(lengths)), len(lengths))
        chunk = size * _BUCKET_BATCHES
        chunks = [order[i : i + chunk] for i in range(0, len(order), chunk)]
        order = [i for c in chunks for i in sorted(c, key=lambda i: lengths[i])]
        shuffled_batches = [order[i : i + size] for i in range(0, len(order), size)]
        for batch in rng.sample(shuffled_batches, len(shuffled_batches)):
            yield epoch, batch


__all__ = ["DistillRun", "Diverged", "distill"]


def distill(recipe: DistillRecipe, *, dry_run: bool = False, tokenizer: Path | None = None) -> Path:
    """Train a student by a recipe; the folder of the best one.

    `dry_run` plans, tries the longest batch and writes nothing. `tokenizer`: a `tokenizer.json`
    other than the packaged one. A run that was killed goes on where it last judged. Raises
    `UserError` for what cannot start, another run's checkpoint in `output_dir` among it, and
    `Diverged` (exit code 4) when a loss or gradient is not a number.
    """
    tokenizer_path = tokenizer or minilm.tokenizer_path()
    group = data_parallel.init_process_group()
    run = _train_once(recipe, tokenizer_path, group, dry_run=dry_run)
    if recipe.cross_fit_folds and not dry_run:
        cross_fitting.cross_fit(
            recipe,
            run.train_sets,
            lambda fold_recipe, rows: (
                _train_once(fold_recipe, tokenizer_path, group, train_sets=rows).student_folder
            ),
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
        self.group = group or data_parallel.init_process_group()
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
            self.student,
            recipe,
            steps=self.steps,
            rows=self.rows,
            new_params=new_params,
            group=self.group,
        )
        self.lengths = [self.collator.length(r) for r in self.rows]
        self.state = student_checkpoint.StudentTrainState(self._deciding())
        self.group.assert_equal_across_ranks(
            "rows", sha256(json.dumps(self.state.settings).encode()).hexdigest()
        )
        self.logger = (StudentRunLogger if self.group.is_main else NullRunLogger)(
            Path(recipe.output_dir)
        )
        sources = [*self.train_sets, *self.dev_sets]
        self.logger.log_start(
            recipe, sources, num_params=self.num_params, pretrained_from=self.pretrained_from
        )

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
                self.logger.log_step(
                    step,
                    epoch=epochs_done,
                    loss=loss,
                    learning_rate=learning_rate,
                    rows=rows_since_log,
                )
                rows_since_log, losses = 0, []
            if step % (self.recipe.eval_steps or self.epoch_steps) == 0 or step == self.steps:
                self._validate(step)
                self.state.step = step
                self._save_checkpoint(folder)
        if self.teacher:
            self.teacher.check()
        self.group.barrier()
        if self.group.is_main:
            student_checkpoint.delete_checkpoint(folder)
        self.logger.log_end(self.student_folder, self.state.best_step)

    def _teacher_output(self, rows: list[AspectExample]) -> Output | None:
        return self.teacher(rows)[1] if self.teacher else None

    def _deciding(self) -> dict[str, Any]:
        """Everything that decides the run, flat: recipe, rows, first weights, our version."""
        return {
            **self.recipe.deciding(),
            "teacher (sha256)": self.teacher.loaded.revision if self.teacher else "",
            student_checkpoint.DATA: " ".join(
                dataset.sha256[:16] for dataset in self.train_sets
            ),
            "dev (sha256)": " ".join(
                dataset.sha256[:16] for dataset in self.dev_sets
            ),
            "first weights": self.pretrained_from,
            "gen_msa": __version__,
            "torch": str(torch.__version__),
            "device": self.group.device.type,
            "processes": self.group.world_size,
            student_checkpoint.STEPS: self.steps,
        }

    def _batches(self) -> Iterator[tuple[int, list[AspectExample]]]:
        """The epoch and the rows of every step."""
        size, epochs = self.recipe.per_device_train_batch_size, self.recipe.num_train_epochs
        order = epoch_batches(self.lengths, size=size, epochs=epochs, seed=self.recipe.seed)
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
        facts = model_card.StudentCard(
            recipe, self.train_sets, metrics, step, self.num_params, self.pretrained_from
        )
        try:
            with manifest.atomic_directory(self.student_folder) as staging:
                serialization.save_student(
                    staging,
                    self.student,
                    self.collator,
                    text=recipe.text,
                    name=recipe.student,
                    cues=recipe.cues,
                )
                model_card.write_card(staging, facts)
        except OSError as e:
            raise UserError(
                f"the student {self.student_folder} cannot be written: {e}",
                hint="make room, or choose another output_dir",
            ) from None

    @property
    def _stateful(self) -> student_checkpoint.Stateful:
        memory = self.module.memory if isinstance(self.module, HasRowMemory) else {}
        return student_checkpoint.Stateful(self.module, self.train_step.optimizers, memory)

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
            helper = cross_fitting.folder(self.recipe, fold) / folder.name
            student_checkpoint.check(
                helper, now, besides=(student_checkpoint.DATA, student_checkpoint.STEPS)
            )
        self.state, rng_states, changed = student_checkpoint.restore_checkpoint(folder, now, self._stateful)
        self.group.assert_equal_across_ranks("checkpoint", f"{self.state.step:016x}")
        self.group.restore_rng(rng_states)
        self.logger.log_resume(self.state.step, changed)

    def _save_checkpoint(self, folder: Path) -> None:
        rng_states = self.group.rng_states()
        if not self.group.is_main:
            return
        try:
            student_checkpoint.save_checkpoint(folder, self.state, self._stateful, rng_states)
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
