"""The training run of a student: rows, model, teacher, probe, steps, validation, the best student.

On a CPU the same recipe writes the same bytes, also after it was stopped and resumed. Several
processes hold the same model and rows, and share each batch (`training.distributed`).

    distill(load_recipe("text", ["output_dir=students/text"]))      # the student's folder
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from gen_msa import __version__, manifest
from gen_msa.distillation import cross_fitting, model_card
from gen_msa.distillation.dataset import (
    DistillDataset,
    FrozenTeacher,
    RequiredInputs,
    build_dataset,
)
from gen_msa.distillation.recipe import DistillRecipe
from gen_msa.distillation.run_log import StudentRunLogger
from gen_msa.distillation.train_step import StudentTrainStep
from gen_msa.encoders.text import minilm
from gen_msa.errors import Diverged, UserError, write_errors
from gen_msa.jsonl import check_folder_writable
from gen_msa.metrics import image_cluster
from gen_msa.metrics.labels import Scores, label_metrics, score_labels
from gen_msa.models import CLASSES, AspectExample, HasRowMemory, InputDims, Model, Output, models
from gen_msa.models.inference import serialization
from gen_msa.models.inference.predict import predict_probabilities
from gen_msa.models.inputs.collator import Collator
from gen_msa.training import checkpoint, distributed
from gen_msa.training.checkpoint import ResumePolicy, Stateful, TrainState
from gen_msa.training.distributed import ProcessGroup
from gen_msa.training.input_check import check_input, count_unused
from gen_msa.types import Polarity

__all__ = ["DistillRun", "Diverged", "distill"]

RESUME_POLICY = ResumePolicy(may_differ=("processes", "device", "torch"))
"""A batch is the same whatever the number of processes."""
_DATA = "data (sha256)"
_BUCKET_BATCHES = 16
"""Batches whose rows are sorted by length together, so that little is padding."""


def distill(recipe: DistillRecipe, *, dry_run: bool = False, tokenizer: Path | None = None) -> Path:
    """Train a student by a recipe; a run that was stopped goes on from its last validation.

    Args:
        recipe: The recipe.
        dry_run: Plan, print, and try the longest batch, but write nothing.
        tokenizer: A `tokenizer.json` other than the packaged one.

    Returns:
        The folder of the best student.

    Raises:
        UserError: When the run cannot start, as with another run's checkpoint in `output_dir`.
        Diverged: When a loss or gradient is not finite (exit code 4).
    """
    if not dry_run:
        check_folder_writable(Path(recipe.output_dir), hint="choose another output_dir")
    tokenizer_path = tokenizer or minilm.tokenizer_path()
    group = distributed.init_process_group()
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
    run.logger.log_unused(run.unused)
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
        """Build rows, model, teacher and optimisers.

        Args:
            recipe: The recipe.
            tokenizer: A `tokenizer.json`.
            train_sets: Training rows; None for those that the recipe names.
            group: The processes that share each batch; None for those of the launcher.

        Raises:
            UserError: When the recipe cannot be run.
        """
        self.recipe = recipe
        self.group = group or distributed.init_process_group()
        self.student_folder = Path(recipe.output_dir) / "student"
        self.checkpoint_folder = Path(recipe.output_dir) / "checkpoint"
        self.teacher = _load_teacher(recipe, self.group)
        required = required_inputs(recipe, self.teacher)
        self.train_sets = train_sets or [build_dataset(d, recipe, required) for d in recipe.data]
        self.unused = self._check_input() if train_sets is None else Counter[str]()
        self.dev_sets = [build_dataset(d, recipe, required) for d in recipe.dev]
        self.rows = [r for dataset in self.train_sets for r in dataset.rows]
        dev_rows = [r for dataset in self.dev_sets for r in dataset.rows]
        self.collator = build_collator(recipe, tokenizer, [*self.rows, *dev_rows])
        self.student, new_params, self.pretrained_from = build_student(recipe, self.collator)
        module: Any = self.student
        self.module = module.to(self.group.device)
        self.num_params = sum(p.numel() for p in module.parameters())
        self.epoch_steps = -(-len(self.rows) // recipe.per_device_train_batch_size)
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
        self.state = TrainState(settings=self._run_settings())
        self.group.assert_equal_across_ranks(
            "rows", sha256(repr(self.state.settings).encode()).hexdigest()[:16]
        )
        self.logger = StudentRunLogger(Path(recipe.output_dir), is_main=self.group.is_main)
        self.logger.log_start(
            recipe,
            [*self.train_sets, *self.dev_sets],
            num_params=self.num_params,
            pretrained_from=self.pretrained_from,
        )

    def _check_input(self) -> Counter[str]:
        """Return how much of the training data is not used, by kind; stop if that is too much."""
        rejected = sum(s.rejected for s in self.train_sets)
        images = sum((s.images for s in self.train_sets), Counter[str]())
        check_input(
            images,
            rejected=rejected,
            n_rows=rejected + sum(len(s.examples) for s in self.train_sets),
            max_error_rate=self.recipe.max_error_rate,
        )
        notes = (s.notes for s in self.train_sets)
        return count_unused(notes, rejected=rejected, images=images)

    def probe(self) -> None:
        """Run forward and backward on the longest batch, so that errors appear at the start."""
        order = sorted(range(len(self.rows)), key=lambda i: -self.lengths[i])
        longest = [self.rows[i] for i in order[: self.recipe.per_device_train_batch_size]]
        with torch.random.fork_rng(devices=[]):
            loss = self.train_step.probe(self.collator(longest), self._teacher_output(longest))
        truncated = sum(map(self.collator.is_truncated, self.rows))
        self.logger.log_plan(self.steps, truncated, loss)

    def train(self) -> None:
        """Run all steps that are left; validate and save as the recipe says."""
        train_step = self.train_step
        self.group.seed_per_rank(self.recipe.seed)
        self._resume()
        rows_since_log, losses = 0, list[float]()
        for step, (epoch, rows) in enumerate(self._batches(), 1):
            if step <= self.state.step:
                continue
            train_step.set_epoch(epoch)
            learning_rate = train_step.learning_rate
            losses.append(train_step.run(self.collator(rows), self._teacher_output(rows)))
            self.state.step, self.state.rows = step, self.state.rows + len(rows)
            rows_since_log += len(rows)
            if step % self.recipe.logging_steps == 0 or step == self.steps:
                self.logger.log_step(
                    step,
                    epoch=step / self.epoch_steps,
                    loss=sum(losses) / len(losses),
                    learning_rate=learning_rate,
                    rows=rows_since_log,
                )
                rows_since_log, losses = 0, []
            if step % (self.recipe.eval_steps or self.epoch_steps) == 0 or step == self.steps:
                self._validate()
                rng_states, is_main = self.group.rng_states(), self.group.is_main
                checkpoint.save_checkpoint(
                    self.checkpoint_folder, self.state, self._stateful, rng_states, is_main=is_main
                )
        if self.teacher:
            self.teacher.check()
        self.group.barrier()
        if self.group.is_main:
            checkpoint.delete_checkpoint(self.checkpoint_folder)
        self.logger.log_end(self.student_folder, self.state.best_step)

    def _teacher_output(self, rows: list[AspectExample]) -> Output | None:
        return self.teacher(rows)[1] if self.teacher else None

    def _run_settings(self) -> dict[str, Any]:
        """Return everything that decides the run: recipe, rows, initial weights, our version."""
        return {
            **self.recipe.run_settings(),
            "teacher (sha256)": self.teacher.loaded.revision if self.teacher else "",
            _DATA: " ".join(dataset.sha256[:16] for dataset in self.train_sets),
            "dev (sha256)": " ".join(dataset.sha256[:16] for dataset in self.dev_sets),
            "initial weights": self.pretrained_from,
            "gen_msa": __version__,
            "torch": str(torch.__version__),
            "device": self.group.device.type,
            "processes": self.group.world_size,
            checkpoint.STEPS: self.steps,
        }

    def _batches(self) -> Iterator[tuple[int, list[AspectExample]]]:
        """Yield the epoch and the rows of every step."""
        size, epochs = self.recipe.per_device_train_batch_size, self.recipe.num_train_epochs
        order = epoch_batches(self.lengths, size=size, epochs=epochs, seed=self.recipe.seed)
        return ((epoch, [self.rows[i] for i in batch]) for epoch, batch in order)

    def _validate(self) -> None:
        """Predict the dev rows; save the student if it is the best so far, or if there are none."""
        self.train_step.check_weights()
        step, validates = self.state.step, self.dev_sets and self.group.is_main
        metrics = validate(self.student, self.collator, self.dev_sets) if validates else None
        score = self.group.broadcast(metrics["score"] if metrics else float(step))
        is_best = self.state.record_validation({"step": step, **(metrics or {})}, score)
        if metrics:
            self.logger.log_validation(step, metrics, best=is_best)
        if is_best and self.group.is_main:
            self._save_best(metrics)

    def _save_best(self, metrics: dict[str, Any] | None) -> None:
        recipe = self.recipe
        card = model_card.StudentCard(
            recipe,
            self.train_sets,
            metrics,
            self.state.step,
            self.num_params,
            self.pretrained_from,
            modalities=tuple(self.student.modalities),
        )
        with (
            write_errors(
                f"the student {self.student_folder}",
                "cannot be written",
                hint=checkpoint.RESUME_HINT,
            ),
            manifest.atomic_directory(self.student_folder) as staging,
        ):
            serialization.save_student(
                staging,
                self.student,
                self.collator,
                text=recipe.text,
                name=recipe.student,
                cues=recipe.cues,
            )
            model_card.write_card(staging, card)

    @property
    def _stateful(self) -> Stateful:
        memory = self.module.memory if isinstance(self.module, HasRowMemory) else {}
        return Stateful(self.module, self.train_step.optimizers, memory=memory)

    def _resume(self) -> None:
        """Resume from the last complete checkpoint of this run; one of another is an error."""
        folder, settings = self.checkpoint_folder, self.state.settings
        if self.group.is_main:
            manifest.recover(folder)
        self.group.barrier()
        if not self.recipe.resume:
            replaced = [str(folder)] if folder.exists() else []
            return self.logger.log_resume(None, replaced=replaced)
        checkpoint.check_checkpoint(folder, settings, RESUME_POLICY)
        for fold in range(self.recipe.cross_fit_folds):
            # Trained after the student, with fewer rows.
            fold_checkpoint = cross_fitting.fold_folder(self.recipe, fold) / folder.name
            ignored = (_DATA, checkpoint.STEPS)
            checkpoint.check_checkpoint(fold_checkpoint, settings, RESUME_POLICY, ignored)
        if not manifest.is_intact(folder):
            self.group.assert_equal_across_ranks("checkpoint", "")
            return self.logger.log_resume(None)
        self.state, rng_states = checkpoint.restore_checkpoint(folder, self._stateful)
        self.group.assert_equal_across_ranks("checkpoint", f"step {self.state.step}")
        self.group.restore_rng(rng_states)
        changed = checkpoint.allowed_changes(self.state.settings, settings, RESUME_POLICY)
        self.state.settings = settings
        self.logger.log_resume(folder, self.state.step, changed=changed)


def required_inputs(recipe: DistillRecipe, teacher: FrozenTeacher | None) -> RequiredInputs:
    """Return what rows must carry for the student and its teacher.

    Args:
        recipe: The recipe of the student.
        teacher: The student that teaches it, if any.

    Raises:
        UserError: When the two were given different cues.
    """
    model_class: Any = models[recipe.student]
    modalities, cues = tuple(model_class.modalities), dict(recipe.cues)
    if teacher:
        modalities += tuple(m for m in teacher.loaded.student.modalities if m not in modalities)
        teacher_cues = teacher.loaded.config.cues
        if cues and teacher_cues and teacher_cues != cues:
            raise UserError("student and teacher have different cues", hint="give both the same")
        cues = cues or teacher_cues
    return RequiredInputs(modalities, cues)


def build_collator(
    recipe: DistillRecipe, tokenizer: Path, rows: Sequence[AspectExample]
) -> Collator:
    """Build what makes batches of rows, with every modality that the student reads.

    Args:
        recipe: The recipe of the student.
        tokenizer: A `tokenizer.json`.
        rows: All rows; they decide the width of the features.

    Returns:
        The collator, with the vocabulary size of a context and the width of other modalities.

    Raises:
        UserError: For a modality that no row has.
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
    """Build the model of a student.

    Args:
        recipe: The recipe of the student.
        collator: What makes its batches; it decides the input widths.

    Returns:
        The model, the names of parameters that are new while others are pretrained, and the
        package of the pretrained weights ("" for none).

    Raises:
        UserError: For a hyper-parameter that the model does not take.
    """
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


def _load_teacher(recipe: DistillRecipe, group: ProcessGroup) -> FrozenTeacher | None:
    if not recipe.teacher:
        return None
    return FrozenTeacher(Path(recipe.teacher), select_rows=group.local_rows, device=group.device)


def epoch_batches(
    lengths: Sequence[int], *, size: int, epochs: int, seed: int
) -> Iterator[tuple[int, list[int]]]:
    """Yield the epoch (from 0) and the row indices of every step.

    Each epoch has each row once, in a random order of its own that is the same in every run; rows
    of similar length share a batch.

    Args:
        lengths: Tokens of each row.
        size: Rows of a batch; the last batch of an epoch may be smaller.
        epochs: Number of epochs.
        seed: Seed of the order.
    """
    for epoch in range(epochs):
        rng = random.Random(f"{seed}/{epoch}")
        order = rng.sample(range(len(lengths)), len(lengths))
        chunk = size * _BUCKET_BATCHES
        chunks = [order[i : i + chunk] for i in range(0, len(order), chunk)]
        order = [i for c in chunks for i in sorted(c, key=lambda i: lengths[i])]
        shuffled_batches = [order[i : i + size] for i in range(0, len(order), size)]
        for batch in rng.sample(shuffled_batches, len(shuffled_batches)):
            yield epoch, batch


def validate(
    student: Model, collator: Collator, dev_sets: Sequence[DistillDataset]
) -> dict[str, Any]:
    """Predict the dev rows as in use, and compare them with their labels.

    Args:
        student: The model.
        collator: What makes its batches.
        dev_sets: The rows of each dev source.

    Returns:
        Plain JSON: the metrics of each source with n, interval and data hash, shares in 0..1, and
        as `score` the mean of their macro-F1.
    """
    sources = [_source_metrics(d, _dev_scores(student, collator, d)) for d in dev_sets]
    return {"score": sum(s["macro_f1"] for s in sources) / len(sources), "sources": sources}


def _dev_scores(student: Model, collator: Collator, dev_set: DistillDataset) -> Scores:
    probs = predict_probabilities(student, collator, dev_set.rows)
    # Rows of NaN have no prediction: every comparison with NaN is false.
    predicted: list[Polarity | None] = [
        CLASSES[row.index(max(row))] if sum(row) > 0 else None for row in probs
    ]
    clusters = [image_cluster(dev_set.examples[i].post) for i in dev_set.post_indices]
    return score_labels(
        [r.target for r in dev_set.rows if r.target is not None], predicted, clusters
    )


def _source_metrics(dev_set: DistillDataset, scores: Scores) -> dict[str, Any]:
    return {
        "source": dev_set.source,
        "labels": dev_set.labels,
        "data_sha256": dev_set.sha256,
        "left_out": dict(dev_set.left_out),
        "n": scores.n,
        **label_metrics(scores),
    }
