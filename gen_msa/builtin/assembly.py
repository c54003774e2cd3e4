"""Assemble a LLaVA from a language model and a vision encoder: the builtin model before training.

The projector between them is seeded noise of the size of word embeddings; it must be trained before
images carry information (Liu et al. 2023, "Visual instruction tuning").

    model, processor = build_llava(language, tokenizer, vision_encoder)
"""

import copy
from pathlib import Path
from typing import Any

import torch
import transformers as hf

from gen_msa.encoders.vision.efficientnet_lite import EfficientNetLite, image_processor
from gen_msa.manifest import atomic_directory

IMAGE_TOKEN = "<image>"  # noqa: S105
PROJECTOR_SEED = 20
_GELU_POWER = 0.425
"""Mean square of GELU over a standard normal distribution."""

CHAT_TEMPLATE = """\
{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}\
{% if message['content'] is string %}{{ message['content'] }}\
{% else %}{% for part in message['content'] %}\
{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endif %}\
{{ '<|im_end|>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
"""SmolLM2's own, with images, and without the system turn that it adds by default."""


def load_gguf(gguf_path: Path) -> tuple[Any, Any]:
    """Load model (float32) and tokenizer from a GGUF file."""
    _quiet_progress_bars()
    load_options: dict[str, Any] = {"gguf_file": gguf_path.name, "local_files_only": True}
    tokenizer = hf.AutoTokenizer.from_pretrained(gguf_path.parent, **load_options)
    loaded = hf.AutoModelForCausalLM.from_pretrained(
        gguf_path.parent, dtype=torch.float32, **load_options
    )
    # A model loaded from GGUF is marked as quantized and cannot be saved or change its dtype.
    config = type(loaded.config)(**_without_quantization(loaded.config.to_dict()))
    model = type(loaded)(config)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    return model.eval(), tokenizer


def save_model(model: Any, processor: Any, folder: Path) -> None:
    """Write model and processor as `folder`, which appears complete or not at all.

    Args:
        model: Model to save.
        processor: Its processor.
        folder: Folder to create or replace.

    Raises:
        OSError: The folder cannot be written; safetensors has an error of its own for a full disk.
    """
    with atomic_directory(folder) as draft:
        model.save_pretrained(draft)
        processor.save_pretrained(draft)


def _quiet_progress_bars() -> None:
    hf.utils.logging.disable_progress_bar()


def _without_quantization(config: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k not in ("quantization_config", "model_type")}


def build_llava(language: Any, tokenizer: Any, vision_encoder: EfficientNetLite) -> tuple[Any, Any]:
    """Assemble a LLaVA and its processor; the same parts give the same weights.

    Args:
        language: Causal language model with tied embeddings.
        tokenizer: Its ChatML tokenizer; a copy with one more token is used.
        vision_encoder: Encoder whose config gives image size and grid.

    Returns:
        The model (float32, evaluation mode) and its processor.

    Raises:
        ValueError: The grid does not divide the image size.
    """
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    text_options = {k: v for k, v in language.config.to_dict().items() if not k.startswith("_")}
    text_config = type(language.config)(**{**text_options, "vocab_size": len(tokenizer)})
    config = hf.LlavaConfig(
        text_config=text_config,
        vision_config=vision_encoder.config,
        image_token_id=image_token_id,
        image_seq_length=vision_encoder.config.grid**2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        model = hf.LlavaForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(vision_encoder.state_dict())
    language_state = _add_image_embedding(language.model.state_dict())
    model.model.language_model.load_state_dict(language_state)
    model.tie_weights()
    _init_projector(model.model.multi_modal_projector, language_state["embed_tokens.weight"])
    model.generation_config = language.generation_config
    return model.float().eval(), _build_processor(tokenizer, vision_encoder)


def _add_image_embedding(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Add the image token's row: the mean of all rows, so its score is never the highest."""
    name = "embed_tokens.weight"
    row = state[name].double().mean(0, keepdim=True).to(state[name].dtype)
    return {**state, name: torch.cat([state[name], row])}


def _init_projector(projector: Any, embeddings: torch.Tensor) -> None:
    """Draw weights that map inputs of variance 1 to the mean square of word embeddings."""
    generator = torch.Generator().manual_seed(PROJECTOR_SEED)
    rms = float(embeddings.double().square().mean().sqrt())
    first, second = projector.linear_1, projector.linear_2
    with torch.no_grad():
        first.weight.normal_(0, first.in_features**-0.5, generator=generator)
        std = rms / (second.in_features * _GELU_POWER) ** 0.5
        second.weight.normal_(0, std, generator=generator)
        first.bias.zero_()
        second.bias.zero_()


def _build_processor(tokenizer: Any, vision_encoder: EfficientNetLite) -> Any:
    image_size, grid = vision_encoder.config.image_size, vision_encoder.config.grid
    # LlavaProcessor counts whole patches along a side.
    if image_size // (image_size // grid) != grid:
        raise ValueError(f"a grid of {grid} does not fit an image of {image_size} pixels")
    tokenizer.chat_template = CHAT_TEMPLATE
    return hf.LlavaProcessor(
        image_processor(vision_encoder.config),
        tokenizer,
        patch_size=image_size // grid,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        image_token=IMAGE_TOKEN,
        chat_template=CHAT_TEMPLATE,
    )
