"""Tiny parts of the builtin model's kinds, assembled like the real ones.

model, processor = tiny_builtin()
"""

import copy
import functools
from typing import Any

import numpy as np
import torch
import transformers as hf
from PIL import Image

from gen_msa.builtin import assembly
from gen_msa.encoders.vision.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig
from tests.fixtures.tiny_parts import text_settings
from tests.fixtures.tiny_tokenizers import tiny_tokenizer

STAGES = ((1, 3, 1, 1, 4), (2, 3, 2, 2, 8))


def tiny_vision_encoder(grid: int = 2) -> EfficientNetLite:
    torch.manual_seed(3)
    config = EfficientNetLiteConfig(grid=grid, image_size=56, stem=4, stages=STAGES, hidden_size=24)
    encoder = EfficientNetLite(config)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.normal_(0, 0.5)
    encoder.eval()
    return encoder


@functools.cache
def _language() -> Any:
    torch.manual_seed(5)
    config = hf.LlamaConfig(**text_settings("chatml"), tie_word_embeddings=True)
    model = hf.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "norm" not in name:
                weight.mul_(4.0)
    return model


def tiny_language() -> tuple[Any, Any]:
    return copy.deepcopy(_language()), copy.deepcopy(tiny_tokenizer("chatml"))


def tiny_builtin(grid: int = 2) -> tuple[Any, Any]:
    return assembly.build_llava(*tiny_language(), tiny_vision_encoder(grid))


def random_image(seed: int = 0, width: int = 50, height: int = 40) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)
