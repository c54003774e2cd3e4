"""Frozen weights in 8 or 4 bits through bitsandbytes, for LoRA on top (QLoRA).

Only the language model's linear layers are quantised: vision tower, projector, embeddings and head
are small and lose much. Knows nothing of adapters.

    model, processor = weights.read(folder, dtype, **settings(recipe, "cuda"))
    cure(model)
"""

from typing import Any

import torch

from gen_msa.errors import MissingExtra
from gen_msa.finetuning.parts import PROJECTOR_NAMES, VISION_TOWER_NAMES
from gen_msa.finetuning.recipe import FinetuneRecipe


def quantization_options(recipe: FinetuneRecipe, device: str) -> dict[str, Any]:
    """What `from_pretrained` needs to quantise while it loads, straight onto `device`.

    Raises `MissingExtra` when bitsandbytes is not installed.
    """
    try:
        import bitsandbytes  # noqa: F401  # transformers' own message would not name our extra
    except ImportError:
        raise MissingExtra("bitsandbytes", "quant") from None
    from transformers import BitsAndBytesConfig

    use_bf16 = recipe.bf16 or recipe.dtype == "bfloat16"
    # Each is a pattern for a module's whole path, from its start.
    skip_patterns = ["lm_head", *(rf"(?:.+\.)?{name}" for name in (*VISION_TOWER_NAMES, *PROJECTOR_NAMES))]
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
    """Keeps NF4 layers from repacking their weights on CPUs with AVX512-BF16.

    bitsandbytes repacks them in the first forward in evaluation mode without gradients (a dev
    evaluation, say), and backward then reads the packed weights as if they were not: the loss looks
    normal while the gradients of most LoRA weights are exactly zero.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
