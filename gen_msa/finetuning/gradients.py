"""Whether everything that is to be trained really is: each tensor must have received a gradient.

A tensor that silently gets none (cut off from the loss, broken quantised backward) is the commonest
fault of LoRA training. Knows nothing of the loop.

    waiting = check_gradients(model)  # after backward, until it returns nothing
"""

from typing import Any

from gen_msa.errors import UserError
from gen_msa.finetuning import sharding
from gen_msa.finetuning.adapting import Trained, trainable


def check_gradients(model: Any, *, pictures: bool = True) -> list[str]:
    """Names of trained tensors that this backward could not prove; check again at a later step.

    Those are: `lora_A` while its `lora_B` is all zero (as it begins, so A's gradient is exactly
    zero), projector and vision tower when the batch had no `pictures`, and single experts. Raises
    `UserError` naming every other tensor whose gradient is missing or exactly zero. `model` is the
    adapted one, not a data-parallel wrapper; if it is split, all processes check together.
    """
    named = dict(model.named_parameters())
    waiting: list[str] = []
    silent: list[str] = []
    trained = trainable(model)
    got = sharding.nonzero([named[one.name].grad for one in trained])
    begun = {one.name for one, some in zip(trained, _moved(trained, named), strict=True) if some}
    for one, some in zip(trained, got, strict=True):
        if not some:
            (waiting if _excused(one, begun, pictures) else silent).append(one.name)
    if silent:
        shown = "\n    ".join(silent[:12]) + ("\n    …" if len(silent) > 12 else "")
        raise UserError(
            f"{len(silent)} of the tensors to be trained got no gradient:\n    {shown}",
            mend="leave them out (lora_target, train_vision, train_projector); if they are most of "
            "the model, set quantization: none and report it",
        )
    return waiting


def _moved(trained: list[Trained], named: dict[str, Any]) -> list[bool]:
    """Of each `lora_A` whether its `lora_B` is no more all zero; False for other tensors."""
    pairs = [one.name.replace(".lora_A.", ".lora_B.") for one in trained]
    return sharding.nonzero(
        [named[b] if b != one.name else None for one, b in zip(trained, pairs, strict=True)]
    )


def _excused(one: Trained, begun: set[str], pictures: bool) -> bool:
    if one.kind in ("projector", "vision") and not pictures:
        return True
    if ".lora_A." in one.name:
        return one.name not in begun
    # An expert that the router chose for no token of the batch.
    return ".experts." in one.name
