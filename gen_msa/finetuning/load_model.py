"""Loads the base model of a recipe from disk, at its precision, quantized if requested.

Nothing is downloaded, and no code of a model repository is run.

    loaded = load_model(recipe)  # model, processor, folder, base_hash
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from gen_msa.errors import MissingExtra, UserError
from gen_msa.finetuning.recipe import FinetuneRecipe
from gen_msa.training.model_parts import PROJECTOR_NAMES, VISION_TOWER_NAMES


def quantization_options(recipe: FinetuneRecipe, device: str) -> dict[str, Any]:
    """Return the `from_pretrained` options that quantize while loading.

    The method is QLoRA (Dettmers et al., NeurIPS 2023).

    Args:
        recipe: The kind of quantization and the compute precision.
        device: Where the weights are loaded.

    Raises:
        MissingExtra: If bitsandbytes is not installed.
    """
    try:
        import bitsandbytes  # noqa: F401  # transformers' own message would not name our extra
    except ImportError:
        raise MissingExtra("bitsandbytes", "quant") from None
    from transformers import BitsAndBytesConfig

    use_bf16 = recipe.bf16 or recipe.dtype == "bfloat16"
    # Each is a pattern for a module's full path, from its start.
    skip_patterns = [
        "lm_head",
        *(rf"(?:.+\.)?{name}" for name in (*VISION_TOWER_NAMES, *PROJECTOR_NAMES)),
    ]
    config = BitsAndBytesConfig(
        load_in_8bit=recipe.quantization == "int8",
        load_in_4bit=recipe.quantization == "nf4",
        llm_int8_skip_modules=skip_patterns,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if use_bf16 else torch.float32,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def fix_quantized_modules(model: Any) -> None:
    """Prevent NF4 layers from repacking their weights on CPUs with AVX512-BF16.

    bitsandbytes repacks them in the first forward pass in evaluation mode without gradients (a
    validation, say), and backward then reads the packed weights as if they were not: the loss looks
    normal while the gradients of most LoRA weights are exactly zero.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


class LoadedModel(NamedTuple):
    """A model to be adapted, on its device, and what reading it again needs."""

    model: Any
    processor: Any
    """The tokenizer for a text model."""
    folder: Path
    base_hash: str
    """16 hex digits over weights, settings and vocabulary (`weights.folder_revision`)."""


def load_model(recipe: FinetuneRecipe, *, keep_on_cpu: bool = False) -> LoadedModel:
    """Load the model of `model_name_or_path`, unwrapped, with `use_cache` off.

    Args:
        recipe: Model, precision, device, attention and quantization.
        keep_on_cpu: Leave it in CPU memory, to be sharded over GPUs.

    Returns:
        The model on the recipe's device, or on the CPU, with its processor, folder and hash.

    Raises:
        UserError: If it cannot be found or loaded.
        MissingExtra: If a package is missing.
    """
    from gen_msa.backends.hf import weights

    if recipe.dtype == "float16":
        raise UserError(
            "dtype: float16 loses small gradients, and there is no loss scaling",
            hint="use dtype: bfloat16, or float32",
        )
    folder = _find_folder(recipe.model_name_or_path)
    device = weights.resolve_device(recipe.device)
    load_options: dict[str, Any] = {"attn_implementation": recipe.attn_implementation}
    if recipe.quantization != "none":
        load_options |= quantization_options(recipe, device)
    model, processor = weights.load_pretrained(
        folder, weights.resolve_dtype(recipe.dtype, device), **load_options
    )
    if recipe.quantization == "none":
        model = model if keep_on_cpu else model.to(device)
    else:
        fix_quantized_modules(model)
    set_use_cache(model, False)
    return LoadedModel(model, processor, folder, weights.folder_revision(folder))


def set_use_cache(model: Any, enabled: bool) -> None:
    """Set whether a forward pass returns keys and values: not in training, but in a saved model.

    Args:
        model: The model, whose configs are changed.
        enabled: The value.
    """
    for config in (model.config, model.config.get_text_config()):
        config.use_cache = enabled


def _find_folder(name: str) -> Path:
    from gen_msa.backends.hf import weights

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
