"""Whether everything that is to be trained really is: each tensor must have received a gradient.

A tensor that silently gets none (cut off from the loss, broken quantised backward) is the commonest
fault of LoRA training. Knows nothing of the loop.

    waiting = check_gradients(model)  # after backward, until it returns nothing
"""

from typing import Any

from gen_msa.errors import UserError
from gen_msa.finetuning.adapting import Trained, trainable


def check_gradients(model: Any, *, pictures: bool = True) -> list[str]:
    """Names of trained tensors that this backward could not prove; check again at a later step.

    Those are: `lora_A` while its `lora_B` is all zero (as it begins, so A's gradient is exactly
    zero), projector and vision tower when the batch had no `pictures`, and single experts. Raises
    `UserError` naming every other tensor whose gradient is missing or exactly zero. `model` is the
    adapted one, not a data-parallel wrapper.
    """
    named = dict(model.named_parameters())
    waiting: list[str] = []
    silent: list[str] = []
    for one in trainable(model):
        gradient = named[one.name].grad
        if gradient is not None and bool(gradient.any()):
            continue
        (waiting if _excused(one, named, pictures) else silent).append(one.name)
    if silent:
        shown = "\n    ".join(silent[:12]) + ("\n    …" if len(silent) > 12 else "")
        raise UserError(
            f"{len(silent)} of the tensors to be trained got no gradient:\n    {shown}",
            mend="leave them out (lora_target, train_vision, train_projector); if they are most of "
            "the model, set quantization: none and report it",
        )
    return waiting


def _excused(one: Trained, named: dict[str, Any], pictures: bool) -> bool:
    if one.kind in ("projector", "vision") and not pictures:
        return True
    if ".lora_A." in one.name:
        return not bool(named[one.name.replace(".lora_A.", ".lora_B.")].any())
    # An expert that the router chose for no token of the batch.
    return ".experts." in one.name
