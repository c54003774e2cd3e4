"""The run: open, prepare, probe, step, judge, keep; and go on where it stopped.

Each part is a room of its own; this file only says in which order they are used. Knows nothing of
tokens or tensors.

    finetune(load("tiny_cpu", ["output_dir=adapters/tiny"]))     # Path of the adapter
"""

import math
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from gen_msa.errors import Diverged, UserError
from gen_msa.finetuning import resuming
from gen_msa.finetuning.batches import EpochSampler, TrainingBatch
from gen_msa.finetuning.load_model import load_model
from gen_msa.finetuning.peft_model import (
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
from gen_msa.prefetch import prefetch
from gen_msa.training import checkpoint, distributed, fsdp
from gen_msa.training.checkpoint import TrainState

__all__ = ["Diverged", "FinetuneRun", "finetune"]


def finetune(recipe: FinetuneRecipe, *, dry_run: bool = False) -> Path:
    """Run a recipe; the folder of the best adapter.

    `dry_run` plans, prints and probes the longest batch, and writes nothing. Raises `UserError` for
    what cannot log_start, checkpoints of another run in `output_dir` among it, and `Diverged` (exit
    code 4) when a loss or gradient is not a number.
    """
    if not dry_run:
        checkpoint.check_writable(Path(recipe.output_dir))
    run = FinetuneRun(recipe)
    run.log_start()
    run.probe()
    if not dry_run:
        run.resume()
        run.train()
    distributed.leave(run.accelerator, run.train_step.release)
    return run.adapter_folder


class FinetuneRun:
    """One fine-tuning run of one process; every process of it holds the same plan."""

    def __init__(self, recipe: FinetuneRecipe) -> None:
        from transformers import get_scheduler

        self.recipe = recipe
        self.folder = Path(recipe.output_dir)
        self.adapter_folder = self.folder / "adapter"
        self.dev_sets = load_dev_sets(recipe)
        # First of all the process gets its device, or all would load onto the first one.
        self.accelerator = distributed.create_accelerator(recipe)
        sharded = fsdp.fsdp_requested()
        # Features are made before it is split, on its device.
        self.loaded = load_model(
            recipe, keep_on_cpu=sharded and not recipe.optimizations.feature_cache
        )
        positions, dtype = attention_inputs(self.loaded.model, recipe)
        unpacked_reason = packing_unsupported_reason(recipe, self.loaded.model)
        # The new weights are the same in every process.
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
        """What is trained, on what, and what was left out."""
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
        """Forward and backward on the longest batch, so that memory runs out now or never.

        Twice: the first time makes kernels and is no measure of the others.
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
                hint="lower per_device_train_batch_size, max_length or the picture budget",
            ) from None
        self.train_step.optimizer.zero_grad(set_to_none=True)
        self.logger.log_probe(result, time.perf_counter() - started_at, self.prepared, self.steps)

    def resume(self) -> None:
        """Go on from the last whole checkpoint of this run, if there is one and it is wanted.

        Raises `UserError`, before anything is written, when there are those of another run.
        """
        if not self.recipe.resume:
            return self.logger.log_resume(None, [], replaced=checkpoint.names(self.folder))
        now = self.state.settings
        found, skipped = checkpoint.latest_checkpoint(self.folder, now)
        distributed.assert_equal_across_ranks(
            self.accelerator, "checkpoint", found.name if found else ""
        )
        if found is None:
            return self.logger.log_resume(None, skipped)
        self.state = checkpoint.restore_checkpoint(
            found, self.model, self.train_step.optimizer, self.train_step.scheduler
        )
        then, self.state.settings = self.state.settings, now
        self.logger.log_resume(found, skipped, changed=resuming.allowed_changes(then, now))
        if self.state.step == then["steps"] < self.steps:
            self._validate()  # The last checkpoint of a run is saved before it is log_validation.

    def train(self) -> None:
        """All steps that are left; judged and kept as the recipe says."""
        batch_lists = (
            self.sampler.step_batches(step)
            for step in self.sampler.remaining_steps(self.state.step)
        )
        with closing(prefetch(batch_lists, self.recipe.optimizations.prefetch)) as feed:
            # Looked at before a step: what is gone on from may have been tired already.
            while not self._should_stop_early() and (batches := next(feed, None)) is not None:
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
        """Read the dev posts; keep the adapter if it is the best so far, or if none are read."""
        result = self._run_validation()
        metrics = result.as_json() if result else {"step": self.state.step}
        score = distributed.broadcast(
            self.accelerator, metrics.get("score", float(self.state.step))
        )
        better = score > self.state.best_score
        self.state.evals_since_best = 0 if better else self.state.evals_since_best + 1
        self.state.history.append(metrics)
        if better:
            self.state.best_score, self.state.best_step = score, self.state.step
            if self._runs_validation:
                adapter_inputs = self.recipe, self.loaded, self.model, self.prepared, result
                is_main = self.accelerator.is_main_process
                save_best_adapter(
                    self.adapter_folder, *adapter_inputs, step=self.state.step, is_main=is_main
                )
        self.accelerator.wait_for_everyone()

    def _run_validation(self) -> ValidationResult | None:
        """What is read on the dev posts; None without any, or when only the main process reads."""
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
        """Whether this process judges and keeps: all do with a split model, the same at once."""
        return self.train_step.sharded or bool(self.accelerator.is_main_process)

    def _should_stop_early(self) -> bool:
        patience = self.recipe.early_stopping_patience
        return bool(patience and self.recipe.dev and self.state.evals_since_best >= patience)

    def _save_checkpoint(self) -> None:
        is_main = self.accelerator.is_main_process
        weights = {n: p.detach() for n, p in self.model.named_parameters() if p.requires_grad}
        weights = fsdp.gather_full(weights, is_main=is_main)
        optimizer = fsdp.gather_full(self.train_step.optimizer.state_dict(), is_main=is_main)
        if is_main:
            checkpoint.save_checkpoint(
                self.folder / f"checkpoint-{self.state.step}",
                weights,
                optimizer,
                self.train_step.scheduler,
                self.state,
            )
            checkpoint.prune_checkpoints(self.folder, self.recipe.save_total_limit, self.state)
        self.accelerator.wait_for_everyone()

    def _run_settings(self) -> dict[str, Any]:
        """What decides what is trained, to be compared with what a checkpoint was made by."""
        hashes = {
            "base model": self.loaded.base_hash,
            "data": self.sampler.fingerprint(),
            "dev": " ".join(dev.sha256[:16] for dev in self.dev_sets),
        }
        execution = {
            "processes": self._world_size,
            "fsdp": self.train_step.sharded,
            "steps": self.steps,
        }
        return resuming.run_settings(self.recipe, hashes, execution)
