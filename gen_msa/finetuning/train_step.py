"""One optimiser step: forward and backward passes, checks, update.

A loss or gradient that is not finite stops the run before the optimiser has changed anything, and
names the rows.

    train_step.run(batches)       # StepResult(loss=…, by_field=…, grad_norm=…)
"""

import math
import random
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from gen_msa.errors import Diverged, UserError
from gen_msa.finetuning.batches import TrainingBatch
from gen_msa.finetuning.feature_cache import VisionFeatureCache
from gen_msa.finetuning.loss import FIELDS, AnswerOnlyLMHead, BatchLoss, loss_from_logits
from gen_msa.finetuning.peft_model import TrainableParam, mixed_precision, trainable_params
from gen_msa.finetuning.recipe import FinetuneRecipe
from gen_msa.training import fsdp
from gen_msa.training.distributed import configure_ddp


def check_gradients(model: Any, *, has_images: bool = True) -> list[str]:
    """Check that every trained tensor got a gradient.

    Some cannot be confirmed yet: `lora_A` while its `lora_B` is all zero (its initial value, which
    makes the gradient of A exactly zero), projector and vision encoder when the batch had no
    images, and single experts. All processes of a sharded model must call this together.

    Args:
        model: The peft model, not a data-parallel wrapper, after a backward pass.
        has_images: Whether the batch had images.

    Returns:
        Names of the tensors that could not be confirmed; check them again at a later step.

    Raises:
        UserError: If the gradient of another tensor is missing or exactly zero; it names them.
    """
    params_by_name = dict(model.named_parameters())
    unconfirmed: list[str] = []
    missing: list[str] = []
    params = trainable_params(model)
    has_grad = fsdp.any_nonzero([params_by_name[param.name].grad for param in params])
    started = {
        param.name
        for param, nonzero in zip(params, _lora_b_nonzero(params, params_by_name), strict=True)
        if nonzero
    }
    for param, nonzero in zip(params, has_grad, strict=True):
        if not nonzero:
            (unconfirmed if _may_lack_gradient(param, started, has_images) else missing).append(
                param.name
            )
    if missing:
        listing = "\n    ".join(missing[:12]) + ("\n    …" if len(missing) > 12 else "")
        raise UserError(
            f"{len(missing)} of the tensors to be trained got no gradient:\n    {listing}",
            hint="exclude them (lora_target, train_vision, train_projector); if they are most of "
            "the model, set quantization: none and report it",
        )
    return unconfirmed


def _lora_b_nonzero(params: list[TrainableParam], params_by_name: dict[str, Any]) -> list[bool]:
    """Return, for each `lora_A`, whether its `lora_B` has left zero; False for others."""
    pairs = [param.name.replace(".lora_A.", ".lora_B.") for param in params]
    return fsdp.any_nonzero(
        [
            params_by_name[b] if b != param.name else None
            for param, b in zip(params, pairs, strict=True)
        ]
    )


def _may_lack_gradient(param: TrainableParam, started: set[str], has_images: bool) -> bool:
    if param.kind in ("projector", "vision") and not has_images:
        return True
    if ".lora_A." in param.name:
        return param.name not in started
    # An expert that the router chose for no token of the batch.
    return ".experts." in param.name


@dataclass
class StepResult:
    """The result of one optimiser step."""

    loss: float
    by_field: dict[str, float] = field(default_factory=dict)
    """Field -> mean cross-entropy (nats) of its tokens, weighted as in the loss."""
    grad_norm: float = 0.0
    tokens: int = 0
    rows: int = 0


class TrainStep:
    """Model, optimiser and schedule of a run.

    Args:
        accelerator: The accelerator of the run.
        model: The model to train, sharded or not.
        optimizer: Its optimiser.
        scheduler: Its learning-rate schedule.
        recipe: The recipe of the run.
        feature_cache: Cached vision features, if used.
    """

    def __init__(
        self,
        accelerator: Any,
        model: Any,
        optimizer: Any,
        scheduler: Any,
        recipe: FinetuneRecipe,
        feature_cache: VisionFeatureCache | None = None,
    ) -> None:
        self.accelerator = accelerator
        self.recipe = recipe
        self.scheduler = scheduler
        self.base_model = model
        self.feature_cache = feature_cache
        self.answer_head = AnswerOnlyLMHead(model, enabled=recipe.optimizations.answer_only_head)
        self.sharded = fsdp.is_sharded(model)
        if self.sharded:
            self.model, self.optimizer = fsdp.unwrap_peft(model), optimizer
        else:
            configure_ddp(accelerator, trainable_params(model))
            self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self._params_without_grad: list[str] | None = None
        """Trained tensors that have had no gradient yet; None before the first step."""

    def release(self) -> None:
        """Drop the references to the wrapped model and optimiser; no step can follow."""
        del self.model, self.optimizer

    def run(self, batches: Sequence[TrainingBatch], step_index: int = 0) -> StepResult:
        """Update the weights once.

        Args:
            batches: The batches of this process; the other processes run theirs.
            step_index: The step, which seeds dropout.

        Returns:
            Loss, parts of it, gradient norm before clipping, and tokens and rows of this step.

        Raises:
            Diverged: If the loss or the gradient is not finite; nothing was updated.
            UserError: If a trained tensor gets no gradient.
        """
        # Dropout is seeded by step and process, so that a resumed run draws the same masks.
        seed_key = f"{self.recipe.seed}/{step_index}/{self.accelerator.process_index}"
        torch.manual_seed(random.Random(seed_key).getrandbits(63))
        result = self.backward(batches)
        if self._params_without_grad is None or self._params_without_grad:
            self._check_gradients(has_images=any("pixel_values" in b.inputs for b in batches))
        result.grad_norm = self._clip_gradients()
        if not math.isfinite(result.grad_norm):
            names = [n for b in batches for n in b.names]
            raise _diverged_error("the gradient", names)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        return result

    def backward(self, batches: Sequence[TrainingBatch]) -> StepResult:
        """Compute losses and gradients of a step, summed over its batches and processes.

        Raises:
            Diverged: If the loss is not finite.
        """
        parts: list[BatchLoss] = []
        for i, batch in enumerate(batches):
            is_last = i == len(batches) - 1
            # Unsynchronised gradients would be full-size, for which a sharded model has no memory.
            sync = is_last or self.sharded
            sync_context = nullcontext() if sync else self.accelerator.no_sync(self.model)
            with sync_context:
                loss = self.compute_loss(batch)
                # Processes average their gradients; the loss is a sum over all of them.
                self.accelerator.backward(loss.total * self.accelerator.num_processes)
            parts.append(loss)
        if self.sharded:
            fsdp.average_replicated_grads(self.model.parameters())
        result = self._reduce_losses(parts, batches)
        if not math.isfinite(result.loss):
            # Every process sees the sum and stops; only the one that had the rows can name them.
            diverged = [
                i for i, p in enumerate(parts) if not bool(torch.isfinite(p.total.detach()))
            ]
            raise _diverged_error("the loss", [n for i in diverged for n in batches[i].names])
        return result

    def compute_loss(self, batch: TrainingBatch) -> BatchLoss:
        """Run the forward pass of one batch and return its loss."""
        batch = batch.to(self.accelerator.device)
        self.answer_head.select(batch.sequences, batch.label_positions)
        with mixed_precision(self.base_model, self.recipe), self._cached_vision(batch):
            logits = self.model(**batch.inputs).logits
        soft = batch.soft_ids, batch.soft_weights
        return loss_from_logits(
            self.answer_head.answer_logits(logits), batch.targets, batch.weights, batch.fields, soft
        )

    def _cached_vision(self, batch: TrainingBatch) -> AbstractContextManager[None]:
        """Make the vision encoder return the cached features of the batch, if there are any."""
        if self.feature_cache is None or batch.cached_features is None:
            return nullcontext()
        return self.feature_cache.use_cached(batch.cached_features)

    def _clip_gradients(self) -> float:
        """Clip the gradients and return their norm before clipping.

        The projector is clipped alone: the gradient of a new projector is a hundred times that of
        LoRA, which would hardly move beside it.
        """
        params_by_group: dict[str, list[Any]] = {}
        for group in self.optimizer.param_groups:
            params_by_group.setdefault(group["name"].partition(",")[0], []).extend(group["params"])
        max_norm = self.recipe.max_grad_norm
        norms = [self.accelerator.clip_grad_norm_(p, max_norm) for p in params_by_group.values()]
        return math.hypot(*(fsdp.to_float(n) for n in norms))

    def _check_gradients(self, *, has_images: bool) -> None:
        """Check the gradients of tensors that have not had one; some come at a later step."""
        unconfirmed = set(check_gradients(self.base_model, has_images=has_images))
        previous = unconfirmed if self._params_without_grad is None else self._params_without_grad
        self._params_without_grad = [name for name in previous if name in unconfirmed]

    def _reduce_losses(
        self, parts: Sequence[BatchLoss], batches: Sequence[TrainingBatch]
    ) -> StepResult:
        names = (*FIELDS, "soft")
        table = [sum(float(p.total.detach()) for p in parts)]
        for name in names:
            sums = [p.by_field[name] for p in parts if name in p.by_field]
            table += [sum(a for a, _ in sums), sum(b for _, b in sums)]
        table += [sum(b.tokens for b in batches), sum(len(b.names) for b in batches)]
        total = torch.tensor(table, dtype=torch.float64, device=self.accelerator.device)
        if self.accelerator.num_processes > 1:
            total = self.accelerator.reduce(total, reduction="sum")
        loss, *totals = total.tolist()
        pairs = zip(names, totals[0:-2:2], totals[1:-2:2], strict=True)
        fields = {name: weighted / weight for name, weighted, weight in pairs if weight > 0}
        return StepResult(loss, fields, tokens=int(totals[-2]), rows=int(totals[-1]))


def _diverged_error(quantity: str, names: Sequence[str]) -> Diverged:
    listing = ", ".join(names[:8] or ["those of another process"]) + (
        f" and {len(names) - 8} more" if len(names) > 8 else ""
    )
    return Diverged(
        f"{quantity} is not a finite number; rows of the batch: {listing}",
        hint="lower learning_rate, or inspect these rows; --resume starts at the last checkpoint",
    )
