"""The training run: load, prepare, probe, train, validate, save, resume.

Each part has its own module; this one calls them in order.

    finetune(load_recipe("tiny_cpu", ["output_dir=adapters/tiny"]))     # Path of the adapter
"""

import math
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from gen_msa.backends.hf import devices
from gen_msa.errors import UserError
from gen_msa.finetuning.batches import EpochSampler, TrainingBatch
from gen_msa.finetuning.peft_model import (
    load_model,
    mixed_precision,
    parameter_groups,
    trainable_params,
    wrap_with_peft,
)
from gen_msa.finetuning.prepare import attention_inputs, packing_unsupported_reason, prepare
from gen_msa.finetuning.recipe import FinetuneRecipe
from gen_msa.finetuning.run_log import RunLogger
from gen_msa.finetuning.save_adapter import save_best_adapter
from gen_msa.finetuning.train_step import StepResult, TrainStep
from gen_msa.finetuning.validation import ValidationResult, load_dev_sets, validate_model
from gen_msa.jsonl import check_folder_writable
from gen_msa.prefetch import prefetch
from gen_msa.training import checkpoint, distributed, fsdp
from gen_msa.training.checkpoint import ResumePolicy, Stateful, TrainState

RESUME_POLICY = ResumePolicy(
    may_differ=("fsdp",),
    step_size=("per_device_train_batch_size", "gradient_accumulation_steps", "processes"),
    adjustable="gradient_accumulation_steps",
    length_keys="max_steps, num_train_epochs",
)
"""The data order is planned by optimiser steps, so only the posts of a step have to stay."""


def finetune(recipe: FinetuneRecipe, *, dry_run: bool = False) -> Path:
    """Run a recipe and return the folder of the best adapter.

    Args:
        recipe: The recipe.
        dry_run: Plan, print and probe the longest batch; write nothing.

    Returns:
        `adapter` in `output_dir`; it is not written in a dry run.

    Raises:
        UserError: If the run cannot start, for instance because `output_dir` has checkpoints of
            another run.
        Diverged: If a loss or gradient is not finite (exit code 4).
    """
    if not dry_run:
        check_folder_writable(Path(recipe.output_dir), hint="choose another output_dir")
    run = FinetuneRun(recipe)
    run.log_start()
    run.probe()
    if not dry_run:
        run.resume()
        run.train()
    run.logger.log_unused(run.prepared.unused)
    distributed.leave(run.accelerator, run.train_step.release)
    return run.adapter_folder


class FinetuneRun:
    """A fine-tuning run as one of its processes sees it; all processes have the same plan."""

    def __init__(self, recipe: FinetuneRecipe) -> None:
        from transformers import get_scheduler

        self.recipe = recipe
        self.folder = Path(recipe.output_dir)
        self.adapter_folder = self.folder / "adapter"
        self.dev_sets = load_dev_sets(recipe)
        # The device is assigned first, or all processes would load onto the same one.
        self.accelerator = distributed.create_accelerator(
            cpu=devices.resolve_device(recipe.device) == "cpu", quantization=recipe.quantization
        )
        sharded = fsdp.fsdp_requested()
        # Features are computed before the model is sharded, on its device.
        self.loaded = load_model(
            recipe, keep_on_cpu=sharded and not recipe.optimizations.feature_cache
        )
        positions, dtype = attention_inputs(self.loaded.model, recipe)
        unpacked_reason = packing_unsupported_reason(recipe, self.loaded.model)
        # New weights must be the same in every process.
        torch.manual_seed(recipe.seed)
        self.model = wrap_with_peft(self.loaded.model, recipe)
        self.prepared = prepare(
            recipe, self.loaded.model, self.loaded.processor, unpacked_reason=unpacked_reason
        )
        rank_options = {"rank": self.accelerator.process_index, "processes": self._world_size}
        self.sampler = EpochSampler(
            recipe, self.prepared, **rank_options, positions=positions, dtype=dtype
        )
        distributed.assert_equal_across_ranks(self.accelerator, "rows", self.sampler.fingerprint())
        if sharded:
            fsdp.shard_model(self.model, self.accelerator.device)
        optimizer = torch.optim.AdamW(
            fsdp.disable_foreach_if_mixed(parameter_groups(self.model, recipe))
        )
        scheduler = get_scheduler(
            recipe.lr_scheduler_type,
            optimizer,
            num_warmup_steps=math.ceil(recipe.warmup_ratio * self.steps),
            num_training_steps=self.steps,
        )
        self.train_step = TrainStep(
            self.accelerator, self.model, optimizer, scheduler, recipe, self.prepared.feature_cache
        )
        self.state = TrainState(settings=self._run_settings())
        is_main = self.accelerator.is_main_process
        self.logger = RunLogger(recipe, self.folder, is_main=is_main, processes=self._world_size)

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.sampler.steps

    @property
    def _world_size(self) -> int:
        return int(self.accelerator.num_processes)

    def log_start(self) -> None:
        """Print what is trained, on what data, and what was left out."""
        num_params = sum(p.numel() for p in self.model.parameters())
        cache = self.prepared.feature_cache
        self.logger.log_start(
            trainable_params(self.model),
            self.prepared,
            self.steps,
            total_params=num_params,
            notes=[*self.prepared.notes, *([cache.summary()] if cache else [])],
        )

    def probe(self) -> None:
        """Run forward and backward on the longest batch, so that memory runs out now or never.

        It runs twice: the first pass compiles kernels, so only the second one is timed.

        Raises:
            UserError: If the batch does not fit into memory.
        """
        batches = self.sampler.step_batches(self.sampler.longest_batch())
        try:
            self.train_step.backward(batches)
            started_at = time.perf_counter()
            result = self.train_step.backward(batches)
        except (MemoryError, RuntimeError) as e:
            if "memory" not in str(e).lower():
                raise
            raise UserError(
                f"the longest batch does not fit into memory: {e}",
                hint="lower per_device_train_batch_size, max_length or inference.image.max_pixels",
            ) from None
        self.train_step.optimizer.zero_grad(set_to_none=True)
        self.logger.log_probe(result, time.perf_counter() - started_at, self.prepared, self.steps)

    def resume(self) -> None:
        """Restore the last complete checkpoint of this run, if there is one and `resume` is set.

        Raises:
            UserError: If the checkpoints are of another run; nothing has been written.
        """
        if not self.recipe.resume:
            return self.logger.log_resume(
                None, [], replaced=checkpoint.checkpoint_names(self.folder)
            )
        now = self.state.settings
        newest, skipped = checkpoint.latest_checkpoint(self.folder, now, RESUME_POLICY)
        distributed.assert_equal_across_ranks(
            self.accelerator, "checkpoint", newest.name if newest else ""
        )
        if newest is None:
            return self.logger.log_resume(None, skipped)
        self.state, _ = checkpoint.restore_checkpoint(newest, self._stateful)
        then, self.state.settings = self.state.settings, now
        changed = checkpoint.allowed_changes(then, now, RESUME_POLICY)
        self.logger.log_resume(newest, skipped, changed=changed)
        if self.state.step == then[checkpoint.STEPS] < self.steps:
            self._validate()  # A run saves its last checkpoint before it validates.

    def train(self) -> None:
        """Train all remaining steps; validate and save as the recipe says."""
        batch_lists = (
            self.sampler.step_batches(step)
            for step in self.sampler.remaining_steps(self.state.step)
        )
        with closing(prefetch(batch_lists, self.recipe.optimizations.prefetch)) as prefetched:
            # Checked before a step: the resumed run may have stopped early already.
            while not self._should_stop_early() and (batches := next(prefetched, None)) is not None:
                self._on_step_end(self._run_step(batches))
        if self._should_stop_early() and self.state.step < self.steps:
            self.logger.log_early_stop(self.state)
        if not self.state.history or self.state.history[-1]["step"] != self.state.step:
            self._validate()
        self.logger.log_end(self.state, self.adapter_folder)

    def _run_step(self, batches: list[TrainingBatch]) -> StepResult:
        result = self.train_step.run(batches, self.state.step)
        self.state.step += 1
        self.state.rows += result.rows
        self.state.tokens += result.tokens
        return result

    def _on_step_end(self, result: StepResult) -> None:
        step, recipe = self.state.step, self.recipe
        self.logger.log_step(
            self.state, result, self.train_step.scheduler.get_last_lr()[0], self.steps
        )
        epoch_steps = self.sampler.epoch_steps
        if step % (recipe.eval_steps or epoch_steps) == 0 and step != self.steps:
            self._validate()
        if step % (recipe.save_steps or epoch_steps) == 0 or step == self.steps:
            self._save_checkpoint()

    def _validate(self) -> None:
        """Validate on the dev posts; save the adapter if it is the best so far, or without dev."""
        result = self._run_validation()
        metrics = result.as_json() if result else {"step": self.state.step}
        score = distributed.broadcast(
            self.accelerator, metrics.get("score", float(self.state.step))
        )
        if self.state.record_validation(metrics, score) and self._runs_validation:
            adapter_inputs = self.recipe, self.loaded, self.model, self.prepared, result
            is_main = self.accelerator.is_main_process
            save_best_adapter(
                self.adapter_folder, *adapter_inputs, step=self.state.step, is_main=is_main
            )
        self.accelerator.wait_for_everyone()

    def _run_validation(self) -> ValidationResult | None:
        """Return the metrics; None without dev sources, or in a process that does not validate."""
        if not (self.dev_sets and self._runs_validation):
            return None
        with mixed_precision(self.model, self.recipe):
            result = validate_model(
                self.model,
                self.loaded.processor,
                self.dev_sets,
                seed=self.recipe.seed,
                step=self.state.step,
            )
        self.logger.log_validation(result, samples=self.state.step == self.steps)
        return result

    @property
    def _runs_validation(self) -> bool:
        """Whether this process validates and saves: with a sharded model all do, together."""
        return self.train_step.sharded or bool(self.accelerator.is_main_process)

    def _should_stop_early(self) -> bool:
        patience = self.recipe.early_stopping_patience
        return bool(patience and self.recipe.dev and self.state.evals_since_best >= patience)

    def _save_checkpoint(self) -> None:
        is_main = self.accelerator.is_main_process
        folder = self.folder / f"checkpoint-{self.state.step}"
        checkpoint.save_checkpoint(folder, self.state, self._stateful, is_main=is_main)
        if is_main:
            limit = self.recipe.save_total_limit
            checkpoint.prune_checkpoints(self.folder, limit, self.state, RESUME_POLICY)
        self.accelerator.wait_for_everyone()

    @property
    def _stateful(self) -> Stateful:
        optimizers = [(self.train_step.optimizer, self.train_step.scheduler)]
        return Stateful(self.model, optimizers, trainable_only=True)

    def _run_settings(self) -> dict[str, Any]:
        """Return what decides what is trained, to be compared with that of a checkpoint."""
        return {
            **self.recipe.run_settings(),
            "base model (sha256)": self.loaded.base_hash,
            "data (sha256)": self.sampler.fingerprint(),
            "dev (sha256)": " ".join(dev.sha256[:16] for dev in self.dev_sets),
            "processes": self._world_size,
            "fsdp": self.train_step.sharded,
            checkpoint.STEPS: self.steps,
        }
