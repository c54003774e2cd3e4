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
from gen_msa.feeding import ahead
from gen_msa.finetuning import checkpoints, processes, resuming, sharding
from gen_msa.finetuning.adapting import adapt, parameter_groups, precision, trainable
from gen_msa.finetuning.batches import Batch
from gen_msa.finetuning.checkpoints import Progress
from gen_msa.finetuning.devs import dev_posts
from gen_msa.finetuning.judgement import Judgement
from gen_msa.finetuning.judging import judge_model
from gen_msa.finetuning.keeping import keep
from gen_msa.finetuning.opening import open_model
from gen_msa.finetuning.planning import Planner
from gen_msa.finetuning.preparing import asked_for, prepare, why_separate
from gen_msa.finetuning.recipe import Recipe
from gen_msa.finetuning.stepping import Stepped, Stepper
from gen_msa.finetuning.telling import Teller

__all__ = ["Diverged", "Run", "finetune"]


def finetune(recipe: Recipe, *, dry_run: bool = False) -> Path:
    """Run a recipe; the folder of the best adapter.

    `dry_run` plans, prints and probes the longest batch, and writes nothing. Raises `UserError` for
    what cannot start, checkpoints of another run in `output_dir` among it, and `Diverged` (exit
    code 4) when a loss or gradient is not a number.
    """
    if not dry_run:
        checkpoints.check_place(Path(recipe.output_dir))
    run = Run(recipe)
    run.tell()
    run.probe()
    if not dry_run:
        run.resume()
        run.train()
    processes.leave(run.accelerator, run.stepper.release)
    return run.adapter


class Run:
    """One fine-tuning run of one process; every process of it holds the same plan."""

    def __init__(self, recipe: Recipe) -> None:
        from transformers import get_scheduler

        self.recipe = recipe
        self.folder = Path(recipe.output_dir)
        self.adapter = self.folder / "adapter"
        self.devs = dev_posts(recipe)
        # First of all the process gets its device, or all would load onto the first one.
        self.accelerator = processes.begin(recipe)
        split = sharding.wanted()
        # Features are made before it is split, on its device.
        self.opened = open_model(recipe, stay=split and not recipe.levers.feature_cache)
        positions, dtype = asked_for(self.opened.model, recipe)
        separate = why_separate(recipe, self.opened.model)
        # The new weights are the same in every process.
        torch.manual_seed(recipe.seed)
        self.model = adapt(self.opened.model, recipe)
        self.prepared = prepare(recipe, self.opened.model, self.opened.processor, separate=separate)
        place = {"rank": self.accelerator.process_index, "processes": self._processes}
        self.planner = Planner(recipe, self.prepared, **place, positions=positions, dtype=dtype)
        processes.agree(self.accelerator, "rows", self.planner.fingerprint())
        if split:
            sharding.split(self.model, self.accelerator.device)
        optimizer = torch.optim.AdamW(sharding.uniform(parameter_groups(self.model, recipe)))
        scheduler = get_scheduler(
            recipe.lr_scheduler_type,
            optimizer,
            num_warmup_steps=math.ceil(recipe.warmup_ratio * self.steps),
            num_training_steps=self.steps,
        )
        self.stepper = Stepper(
            self.accelerator, self.model, optimizer, scheduler, recipe, self.prepared.memory
        )
        self.progress = Progress(settings=self._deciding())
        main = self.accelerator.is_main_process
        self.teller = Teller(recipe, self.folder, main=main, processes=self._processes)

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.planner.steps

    @property
    def _processes(self) -> int:
        return int(self.accelerator.num_processes)

    def tell(self) -> None:
        """What is trained, on what, and what was left out."""
        size = sum(p.numel() for p in self.model.parameters())
        memory = self.prepared.memory
        self.teller.start(
            trainable(self.model),
            self.prepared,
            self.steps,
            parameters=size,
            notes=[*self.prepared.notes, *([memory.summary()] if memory else [])],
        )

    def probe(self) -> None:
        """Forward and backward on the longest batch, so that memory runs out now or never.

        Twice: the first time makes kernels and is no measure of the others.
        """
        made = self.planner.batches(self.planner.longest())
        try:
            self.stepper.backward(made)
            started = time.perf_counter()
            done = self.stepper.backward(made)
        except (MemoryError, RuntimeError) as e:
            if "memory" not in str(e).lower():
                raise
            raise UserError(
                f"the longest batch does not fit into memory: {e}",
                mend="lower per_device_train_batch_size, max_length or the picture budget",
            ) from None
        self.stepper.optimizer.zero_grad(set_to_none=True)
        self.teller.probed(done, time.perf_counter() - started, self.prepared, self.steps)

    def resume(self) -> None:
        """Go on from the last whole checkpoint of this run, if there is one and it is wanted.

        Raises `UserError`, before anything is written, when there are those of another run.
        """
        if not self.recipe.resume:
            return self.teller.resumed(None, [], replaced=checkpoints.names(self.folder))
        now = self.progress.settings
        found, passed = checkpoints.latest(self.folder, now)
        processes.agree(self.accelerator, "checkpoint", found.name if found else "")
        if found is None:
            return self.teller.resumed(None, passed)
        self.progress = checkpoints.restore(
            found, self.model, self.stepper.optimizer, self.stepper.scheduler
        )
        then, self.progress.settings = self.progress.settings, now
        self.teller.resumed(found, passed, changed=resuming.changes(then, now))
        if self.progress.step == then["steps"] < self.steps:
            self._judge()  # The last checkpoint of a run is saved before it is judged.

    def train(self) -> None:
        """All steps that are left; judged and kept as the recipe says."""
        made = (self.planner.batches(step) for step in self.planner.left(self.progress.step))
        with closing(ahead(made, self.recipe.levers.prefetch)) as feed:
            # Looked at before a step: what is gone on from may have been tired already.
            while not self._tired() and (ready := next(feed, None)) is not None:
                self._after(self._step(ready))
        if self._tired() and self.progress.step < self.steps:
            self.teller.stopped_early(self.progress)
        if not self.progress.history or self.progress.history[-1]["step"] != self.progress.step:
            self._judge()
        self.teller.end(self.progress, self.adapter)

    def _step(self, made: list[Batch]) -> Stepped:
        done = self.stepper.step(made, self.progress.step)
        self.progress.step += 1
        self.progress.rows += done.rows
        self.progress.tokens += done.tokens
        return done

    def _after(self, done: Stepped) -> None:
        step, recipe = self.progress.step, self.recipe
        self.teller.step(self.progress, done, self.stepper.scheduler.get_last_lr()[0], self.steps)
        an_epoch = self.planner.epoch_steps
        if step % (recipe.eval_steps or an_epoch) == 0 and step != self.steps:
            self._judge()
        if step % (recipe.save_steps or an_epoch) == 0 or step == self.steps:
            self._save()

    def _judge(self) -> None:
        """Read the dev posts; keep the adapter if it is the best so far, or if none are read."""
        judgement = self._judgement()
        told = judgement.as_json() if judgement else {"step": self.progress.step}
        score = processes.from_main(self.accelerator, told.get("score", float(self.progress.step)))
        better = score > self.progress.best
        self.progress.worse = 0 if better else self.progress.worse + 1
        self.progress.history.append(told)
        if better:
            self.progress.best, self.progress.best_step = score, self.progress.step
            if self._takes_part:
                parts = self.recipe, self.opened, self.model, self.prepared, judgement
                main = self.accelerator.is_main_process
                keep(self.adapter, *parts, step=self.progress.step, main=main)
        self.accelerator.wait_for_everyone()

    def _judgement(self) -> Judgement | None:
        """What is read on the dev posts; None without any, or when only the main process reads."""
        if not (self.devs and self._takes_part):
            return None
        with precision(self.model, self.recipe):
            found = judge_model(
                self.model,
                self.opened.processor,
                self.devs,
                seed=self.recipe.seed,
                step=self.progress.step,
            )
        self.teller.judged(found, samples=self.progress.step == self.steps)
        return found

    @property
    def _takes_part(self) -> bool:
        """Whether this process judges and keeps: all do with a split model, the same at once."""
        return self.stepper.split or bool(self.accelerator.is_main_process)

    def _tired(self) -> bool:
        patience = self.recipe.early_stopping_patience
        return bool(patience and self.recipe.dev and self.progress.worse >= patience)

    def _save(self) -> None:
        main = self.accelerator.is_main_process
        trained = {n: p.detach() for n, p in self.model.named_parameters() if p.requires_grad}
        trained = sharding.whole(trained, main=main)
        optimizer = sharding.whole(self.stepper.optimizer.state_dict(), main=main)
        if main:
            checkpoints.save(
                self.folder / f"checkpoint-{self.progress.step}",
                trained,
                optimizer,
                self.stepper.scheduler,
                self.progress,
            )
            checkpoints.prune(self.folder, self.recipe.save_total_limit, self.progress)
        self.accelerator.wait_for_everyone()

    def _deciding(self) -> dict[str, Any]:
        """What decides what is trained, to be compared with what a checkpoint was made by."""
        hashes = {
            "base model": self.opened.base_hash,
            "data": self.planner.fingerprint(),
            "dev": " ".join(dev.sha256[:16] for dev in self.devs),
        }
        ways = {"processes": self._processes, "fsdp": self.stepper.split, "steps": self.steps}
        return resuming.deciding(self.recipe, hashes, ways)
