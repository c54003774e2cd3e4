"""Tiny adapters as training writes them, for tests of the checks at loading."""

from pathlib import Path

import peft
import torch

from gen_msa import manifest
from gen_msa.backends import BackendOptions
from gen_msa.backends.hf import adapters, probe, weights
from tests.fixtures.tiny_models import tiny_model

OPTIONS = BackendOptions(device="cpu")


def saved(family: str, folder: Path, *, seed: int | None = None) -> Path:
    """Save a tiny model; with `seed`, one of the same shape and other weights."""
    tiny = tiny_model(family)
    tiny.model.save_pretrained(folder)
    tiny.processor.save_pretrained(folder)
    if seed is not None:
        model, _, _ = weights.load_model_and_processor(str(folder), OPTIONS)
        torch.manual_seed(seed)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight) * 0.05)
        model.save_pretrained(folder)
    return folder


def train(
    base: Path, folder: Path, *, with_metadata: bool = True, prompts=None, inference=None, **lora
):
    """Save a random adapter for `base`; `with_metadata`: with `inference.json` and manifest."""
    model, processor, _ = weights.load_model_and_processor(str(base), OPTIONS)
    torch.manual_seed(3)
    settings = {"r": 2, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, **lora}
    peft_model = peft.get_peft_model(model, peft.LoraConfig(**settings))
    peft_model.save_pretrained(folder)
    if with_metadata:
        adapters.write_metadata(
            folder,
            base=str(base),
            base_sha256=weights.base_hash(base),
            processor=processor,
            prompts=prompts or {},
            inference=inference or {},
            probe=probe.record_probe(peft_model, processor),
        )
        manifest.seal(folder)
    return folder
