"""The run: open, prepare, probe, step, judge, keep; and go on where it stopped.

Each part is a room of its own; this file only says in which order they are used. Knows nothing of
tokens or tensors.

    finetune(load("tiny_cpu", ["output_dir=adapters/tiny"]))     # Path of the adapter
"""

import hashlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from gen_msa.errors import UserError
from gen_msa.finetuning import batches, checkpoints
from gen_msa.finetuning.adapting import adapt, parameter_groups, precision, trainable
from gen_msa.finetuning.batches import Batch
from gen_msa.finetuning.checkpoints import Progress
from gen_msa.finetuning.devs import dev_posts
from gen_msa.finetuning.feeding import ahead
from gen_msa.finetuning.judgement import Judgement
from gen_msa.finetuning.judging import judge_model
from gen_msa.finetuning.keeping import keep
from gen_msa.finetuning.opening import open_model
from gen_msa.finetuning.preparing import asked_for, prepare, why_separate
from gen_msa.finetuning.recipe import Recipe
from gen_msa.finetuning.stepping import Diverged, Stepped, Stepper
from gen_msa.finetuning.telling import Teller

__all__ = ["Diverged", "Run", "finetune"]


def finetune(recipe: Recipe, *, dry_run: bool = False) -> Path:
    """Run a recipe; the folder of the best adapter.

    `dry_run` plans, prints and probes the longest batch, and writes nothing. Raises `UserError` for
    what cannot start, and `Diverged` (exit code 4) when a loss or gradient is not a number.
    """
    run = Run(recipe)
    run.tell()
    run.probe()
    if not dry_run:
        run.resume()
        run.train()
    return run.adapter


class Run:
    """One fine-tuning run of one process; every process of it holds the same plan."""

    def __init__(self, recipe: Recipe) -> None:
        from accelerate import Accelerator
        from transformers import get_scheduler

        self.recipe = recipe
        self.folder = Path(recipe.output_dir)
        self.adapter = self.folder / "adapter"
        torch.manual_seed(recipe.seed)
        self.devs = dev_posts(recipe)
        self.opened = open_model(recipe)
        self.accelerator = Accelerator(cpu=self.opened.model.device.type == "cpu")
        self.positions, self.mask_dtype = asked_for(self.opened.model, recipe)
        separate = why_separate(recipe, self.opened.model)
        self.model = adapt(self.opened.model, recipe)
        self.prepared = prepare(recipe, self.opened.model, self.opened.processor, separate=separate)
        self.steps = self._count()
        optimizer = torch.optim.AdamW(parameter_groups(self.model, recipe))
        scheduler = get_scheduler(
            recipe.lr_scheduler_type,
            optimizer,
            num_warmup_steps=math.ceil(recipe.warmup_ratio * self.steps),
            num_training_steps=self.steps,
        )
        self.stepper = Stepper(
            self.accelerator, self.model, optimizer, scheduler, recipe, self.prepared.memory
        )
        self.progress = Progress(recipe=self._identity())
        self.teller = Teller(
            recipe,
            self.folder,
            main=self.accelerator.is_main_process,
            processes=self.accelerator.num_processes,
        )
        # Each process draws its own dropout.
        torch.manual_seed(recipe.seed + self.accelerator.process_index)

    def tell(self) -> None:
        """What is trained, on what, and what was left out."""
        size = sum(p.numel() for p in self.model.parameters())
        memory = self.prepared.memory
        self.teller.start(
            trainable(self.model),
            self.prepared,
            self.steps,
            parameters=size,
            notes=[memory.summary()] if memory else [],
        )

    def probe(self) -> None:
        """Forward and backward on the longest batch, so that memory runs out now or never."""
        size = self.recipe.per_device_train_batch_size * self.accelerator.num_processes
        order = sorted(range(len(self.prepared.lines)), key=lambda i: -self.prepared.lengths[i])
        state = torch.get_rng_state()
        started = time.perf_counter()
        try:
            done = self.stepper.backward(self._batches(order[:size]))
        except (MemoryError, RuntimeError) as e:
            if "memory" not in str(e).lower():
                raise
            raise UserError(
                f"the longest batch does not fit into memory: {e}",
                mend="lower per_device_train_batch_size, max_length or the picture budget",
            ) from None
        self.stepper.optimizer.zero_grad(set_to_none=True)
        torch.set_rng_state(state)
        self.teller.probed(done, time.perf_counter() - started, self.prepared, self.steps)

    def resume(self) -> None:
        """Go on from the last whole checkpoint of this recipe, if there is one and it is wanted."""
        if not self.recipe.resume:
            return
        found, passed = checkpoints.latest(self.folder, self.progress.recipe)
        if found is not None:
            self.progress = checkpoints.restore(
                found, self.model, self.stepper.optimizer, self.stepper.scheduler
            )
        self.teller.resumed(found, passed)

    def train(self) -> None:
        """All steps that are left; judged and kept as the recipe says."""
        done = self.progress.step
        plan = (s for i, s in enumerate(self._plan()) if i >= done)
        feed = ahead((self._batches(step) for step in plan), self.recipe.levers.prefetch)
        for made in feed:
            self._after(self._step(made))
            if self._tired():
                self.teller.stopped_early(self.progress)
                break
        if not self.progress.history or self.progress.history[-1]["step"] != self.progress.step:
            self._judge()
        self.teller.end(self.progress, self.adapter)

    def _step(self, made: list[Batch]) -> Stepped:
        done = self.stepper.step(made)
        self.progress.step += 1
        self.progress.rows += done.rows
        self.progress.tokens += done.tokens
        return done

    def _after(self, done: Stepped) -> None:
        step, recipe = self.progress.step, self.recipe
        self.teller.step(self.progress, done, self.stepper.scheduler.get_last_lr()[0], self.steps)
        an_epoch = self._epoch_steps()
        if step % (recipe.eval_steps or an_epoch) == 0 and step != self.steps:
            self._judge()
        if step % (recipe.save_steps or an_epoch) == 0 or step == self.steps:
            self._save()

    def _judge(self) -> None:
        """Read the dev posts; keep the adapter if it is the best so far, or if none are read."""
        judgement = self._judgement()
        told = judgement.as_json() if judgement else {"step": self.progress.step}
        score = self._agreed(told.get("score", float(self.progress.step)))
        better = score > self.progress.best
        self.progress.worse = 0 if better else self.progress.worse + 1
        self.progress.history.append(told)
        if better:
            self.progress.best, self.progress.best_step = score, self.progress.step
            if self.accelerator.is_main_process:
                parts = self.recipe, self.opened, self.model, self.prepared, judgement
                keep(self.adapter, *parts, step=self.progress.step)
        self.accelerator.wait_for_everyone()

    def _judgement(self) -> Judgement | None:
        """What the main process reads on the dev posts; None in the others, or without any."""
        if not (self.devs and self.accelerator.is_main_process):
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

    def _agreed(self, score: float) -> float:
        """The main process' score, in all processes."""
        from accelerate.utils import broadcast_object_list

        return float(broadcast_object_list([score])[0])

    def _tired(self) -> bool:
        patience = self.recipe.early_stopping_patience
        return bool(patience and self.recipe.dev and self.progress.worse >= patience)

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            trained = {n: p.detach() for n, p in self.model.named_parameters() if p.requires_grad}
            self.folder.mkdir(parents=True, exist_ok=True)
            checkpoints.save(
                self.folder / f"checkpoint-{self.progress.step}",
                trained,
                self.stepper.optimizer,
                self.stepper.scheduler,
                self.progress,
            )
            checkpoints.prune(self.folder, self.recipe.save_total_limit)
        self.accelerator.wait_for_everyone()

    def _identity(self) -> str:
        """Hash of what decides the numbers of a run."""
        told = self.recipe.model_dump(
            mode="json",
            exclude={
                "output_dir": True,
                "resume": True,
                "report_to": True,
                "logging_steps": True,
                "save_total_limit": True,
            },
        )
        text = json.dumps([told, self.opened.base_hash, self.accelerator.num_processes])
        return hashlib.sha256(text.encode()).hexdigest()[:16]
