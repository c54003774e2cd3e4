"""Packaged weights to modules, modules to a sealed folder.

Knows how the packaged files are laid out inside, not where they are.

    model, tokenizer = unpack(Path("model.gguf"))
"""

import sys
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from safetensors import SafetensorError

from gen_msa.manifest import atomic_directory


def load_gguf(gguf_path: Path) -> tuple[Any, Any]:
    """Model in float32 and tokenizer, straight from the GGUF file."""
    _quiet_progress_bars()
    load_options: dict[str, Any] = {"gguf_file": gguf_path.name, "local_files_only": True}
    tokenizer = hf.AutoTokenizer.from_pretrained(gguf_path.parent, **load_options)
    loaded = hf.AutoModelForCausalLM.from_pretrained(gguf_path.parent, dtype=torch.float32, **load_options)
    # A model read from GGUF calls itself quantised and refuses to change its dtype or be saved.
    config = type(loaded.config)(**_without_quantization(loaded.config.to_dict()))
    model = type(loaded)(config)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    return model.eval(), tokenizer


def save_model(model: Any, processor: Any, folder: Path) -> None:
    """Write model and processor as `folder`: it is there whole or not at all.

    Raises OSError when it cannot be written.
    """
    with atomic_directory(folder) as draft:
        try:
            model.save_pretrained(draft)
        except SafetensorError as e:  # a full disk is none of Python's own errors here
            raise OSError(str(e)) from None
        processor.save_pretrained(draft)


def _quiet_progress_bars() -> None:
    if not sys.stderr.isatty():  # quiet when piped
        hf.utils.logging.disable_progress_bar()


def _without_quantization(config: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k not in ("quantization_config", "model_type")}
