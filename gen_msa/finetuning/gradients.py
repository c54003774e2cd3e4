"""Whether everything that is to be trained really is: each tensor must have received a gradient.

A tensor that silently gets none (cut off from the loss, broken quantised backward) is the commonest
fault of LoRA training. Knows nothing of the loop.

    waiting = check_gradients(model)  # after backward, until it returns nothing
"""

from typing import Any

from gen_msa.errors import UserError
from gen_msa.finetuning import sharding
from gen_msa.finetuning.adapting import TrainableParam, trainable_params


def check_gradients(model: Any, *, has_images: bool = True) -> list[str]:
    """Names of trained tensors that this backward could not prove; check again at a later step.

    Those are: `lora_A` while its `lora_B` is all zero (as it begins, so A's gradient is exactly
    zero), projector and vision tower when the batch had no `pictures`, and single experts. Raises
    `UserError` naming every other tensor whose gradient is missing or exactly zero. `model` is the
    adapted one, not a data-parallel wrapper; if it is split, all processes check together.
    """
    params_by_name = dict(model.named_parameters())
    unconfirmed: list[str] = []
    missing: list[str] = []
    params = trainable_params(model)
    has_grad = sharding.any_nonzero([params_by_name[param.name].grad for param in params])
    started = {param.name for param, nonzero in zip(params, _lora_b_nonzero(params, params_by_name), strict=True) if nonzero}
    for param, nonzero in zip(params, has_grad, strict=True):
        if not nonzero:
            (unconfirmed if _may_lack_gradient(param, started, has_images) else missing).append(param.name)
    if missing:
        listing = "\n    ".join(missing[:12]) + ("\n    …" if len(missing) > 12 else "")
        raise UserError(
            f"{len(missing)} of the tensors to be trained got no gradient:\n    {listing}",
            hint="leave them out (lora_target, train_vision, train_projector); if they are most of "
            "the model, set quantization: none and report it",
        )
    return unconfirmed


def _lora_b_nonzero(params: list[TrainableParam], params_by_name: dict[str, Any]) -> list[bool]:
    """Of each `lora_A` whether its `lora_B` is no more all zero; False for other tensors."""
    pairs = [param.name.replace(".lora_A.", ".lora_B.") for param in params]
    return sharding.any_nonzero(
        [params_by_name[b] if b != param.name else None for param, b in zip(params, pairs, strict=True)]
    )


def _may_lack_gradient(param: TrainableParam, started: set[str], has_images: bool) -> bool:
    if param.kind in ("projector", "vision") and not has_images:
        return True
    if ".lora_A." in param.name:
        return param.name not in started
    # An expert that the router chose for no token of the batch.
    return ".experts." in param.name
