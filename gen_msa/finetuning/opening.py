"""Opens the model that a recipe names: found on disk, at its precision, quantised if it says so.

Nothing is fetched and no code of a model's own is run. Knows nothing of adapters.

    opened = open_model(recipe)  # model, processor, folder, base_hash
"""

from pathlib import Path
from typing import Any, NamedTuple

from gen_msa.errors import UserError
from gen_msa.finetuning.recipe import FinetuneRecipe


class LoadedModel(NamedTuple):
    """A model to be adapted, on its device, and what reading it again needs."""

    model: Any
    processor: Any
    """A tokenizer when the model sees no pictures."""
    folder: Path
    base_hash: str
    """16 hex digits over weights, settings and vocabulary (`backends.local.weights.revision`)."""


def load_model(recipe: FinetuneRecipe, *, keep_on_cpu: bool = False) -> LoadedModel:
    """The model of `model_name_or_path`, whole and unadapted, with `use_cache` off.

    With `stay` it is left in the memory of the CPU, for whoever splits it among GPUs.

    Raises `UserError` when it cannot be found or loaded, and `MissingExtra` for a missing package.
    """
    from gen_msa.backends.local import weights

    if recipe.dtype == "float16":
        raise UserError(
            "dtype: float16 loses small gradients, which nothing here scales up",
            hint="use dtype: bfloat16, or float32",
        )
    folder = _find_folder(recipe.model_name_or_path)
    device = weights.resolve_device(recipe.device)
    load_options: dict[str, Any] = {"attn_implementation": recipe.attn_implementation}
    if recipe.quantization != "none":
        from gen_msa.finetuning import quantising

        load_options |= quantising.quantization_options(recipe, device)
    model, processor = weights.load_pretrained(folder, weights.resolve_dtype(recipe.dtype, device), **load_options)
    if recipe.quantization == "none":
        model = model if keep_on_cpu else model.to(device)
    else:
        quantising.fix_quantized_modules(model)
    set_use_cache(model, False)
    return LoadedModel(model, processor, folder, weights.folder_revision(folder))


def set_use_cache(model: Any, enabled: bool) -> None:
    """Whether a forward keeps its keys and values; of no use while training, wanted in a folder."""
    for config in (model.config, model.config.get_text_config()):
        config.use_cache = enabled


def _find_folder(name: str) -> Path:
    from gen_msa.backends.local import weights

    if name == "builtin" and not Path(name).is_dir():
        from gen_msa import builtin

        return Path(builtin.model_folder())
    folder, adapter = weights.resolve_target(name)
    if adapter is not None:
        raise UserError(
            f"{name}: an adapter is trained on a plain model, not on another adapter",
            hint="merge it first: gen-msa export ADAPTER --merge",
        )
    return folder
