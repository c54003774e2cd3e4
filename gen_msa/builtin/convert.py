"""GGUF to safetensors, once: a folder that is written whole, renamed, and checked when it is read.

A folder that is missing, cut short or altered is made anew; a cache that cannot be written (a
read-only home) costs time and nothing else, and a warning says so. Knows no package.

    model, tokenizer = load(Path("model.gguf"), Path("~/.cache/gen-msa/smollm2"), "float32")
"""

import hashlib
import json
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers as hf

_MANIFEST = "manifest.json"


def load(packed: Path, kept: Path, dtype: str) -> tuple[Any, Any]:
    """Model (evaluation mode) and tokenizer of a GGUF file, from folder `kept` if it is whole."""
    if not sys.stderr.isatty():  # quiet when piped
        hf.utils.logging.disable_progress_bar()
    if not whole(kept):
        model, tokenizer = unpack(packed)
        try:
            keep(model, tokenizer, kept)
        except OSError as e:
            warnings.warn(f"converted weights are not kept in {kept}: {e}", stacklevel=2)
        return model.to(getattr(torch, dtype)).eval(), tokenizer
    model = hf.AutoModelForCausalLM.from_pretrained(
        kept, dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True
    )
    return model.eval(), hf.AutoTokenizer.from_pretrained(kept, local_files_only=True)


def unpack(packed: Path) -> tuple[Any, Any]:
    """Model in float32 and tokenizer, straight from the GGUF file."""
    where: dict[str, Any] = {"gguf_file": packed.name, "local_files_only": True}
    tokenizer = hf.AutoTokenizer.from_pretrained(packed.parent, **where)
    read = hf.AutoModelForCausalLM.from_pretrained(packed.parent, dtype=torch.float32, **where)
    # A model read from GGUF calls itself quantised and refuses to change its dtype or be saved.
    config = type(read.config)(**_plain(read.config.to_dict()))
    model = type(read)(config)
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    return model.eval(), tokenizer


def keep(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write model and tokenizer beside `folder`, then rename: it is there whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
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


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k not in ("quantization_config", "model_type")}
