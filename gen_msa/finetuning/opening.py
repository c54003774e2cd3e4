"""Opens the model that a recipe names: found on disk, at its precision, quantised if it says so.

Nothing is fetched and no code of a model's own is run. Knows nothing of adapters.

    opened = open_model(recipe)  # model, processor, folder, base_hash
"""

from pathlib import Path
from typing import Any, NamedTuple

from gen_msa.errors import UserError
from gen_msa.finetuning.recipe import Recipe


class Opened(NamedTuple):
    """A model to be adapted, on its device, and what reading it again needs."""

    model: Any
    processor: Any
    """A tokenizer when the model sees no pictures."""
    folder: Path
    base_hash: str
    """16 hex digits over weights, settings and vocabulary (`backends.local.weights.revision`)."""


def open_model(recipe: Recipe, *, stay: bool = False) -> Opened:
    """The model of `model_name_or_path`, whole and unadapted, with `use_cache` off.

    With `stay` it is left in the memory of the CPU, for whoever splits it among GPUs.

    Raises `UserError` when it cannot be found or loaded, and `MissingExtra` for a missing package.
    """
    from gen_msa.backends.local import weights

    if recipe.dtype == "float16":
        raise UserError(
            "dtype: float16 loses small gradients, which nothing here scales up",
            mend="use dtype: bfloat16, or float32",
        )
    folder = _folder(recipe.model_name_or_path)
    device = weights.device_of(recipe.device)
    settings: dict[str, Any] = {"attn_implementation": recipe.attn_implementation}
    if recipe.quantization != "none":
        from gen_msa.finetuning import quantising

        settings |= quantising.settings(recipe, device)
    model, processor = weights.read(folder, weights.dtype_of(recipe.dtype, device), **settings)
    if recipe.quantization == "none":
        model = model if stay else model.to(device)
    else:
        quantising.cure(model)
    use_cache(model, False)
    return Opened(model, processor, folder, weights.revision(folder))


def use_cache(model: Any, on: bool) -> None:
    """Whether a forward keeps its keys and values; of no use while training, wanted in a folder."""
    for config in (model.config, model.config.get_text_config()):
        config.use_cache = on


def _folder(name: str) -> Path:
    from gen_msa.backends.local import weights

    if name == "builtin" and not Path(name).is_dir():
        from gen_msa import builtin

        return Path(builtin.folder())
    folder, adapter = weights.find(name)
    if adapter is not None:
        raise UserError(
            f"{name}: an adapter is trained on a plain model, not on another adapter",
            mend="merge it first: gen-msa export ADAPTER --merge",
        )
    return folder
