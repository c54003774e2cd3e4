"""Finds, checks and loads a model from disk: a folder, or a hub name that lies in the local cache.

Nothing is fetched, only safetensors are read, and no code of a model's own is run. Knows nothing of
chats.

    model, processor, revision = load("models/smolvlm@adapters/mabsa", BackendOptions())
"""

import functools
import hashlib
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from gen_msa.backends import BackendOptions
from gen_msa.errors import MissingExtra, UserError

_COUNTED = (".safetensors", ".json", ".jinja", ".model", ".txt")


def load(target: str, options: BackendOptions) -> tuple[Any, Any, str]:
    """Model in evaluation mode, its processor (tokenizer if text-only), and its revision."""
    folder, adapter = find(target)
    device = device_of(options.device)
    model, processor = read(folder, dtype_of(options.dtype, device))
    if adapter is not None:
        model = _adapted(model, adapter)
    parts = [revision(folder), *([revision(adapter)] if adapter else [])]
    return model.to(device).eval(), processor, "+".join(parts) + f"/{str(model.dtype)[6:]}"


def read(folder: Path, dtype: Any, **settings: Any) -> tuple[Any, Any]:
    """The model and its processor (tokenizer if text-only) as they lie in `folder`.

    `settings` go to `from_pretrained`. Raises `UserError` when anything is missing.
    """
    try:
        config = hf.AutoConfig.from_pretrained(folder, local_files_only=True)
        pictures = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        kind = hf.AutoModelForImageTextToText if pictures else hf.AutoModelForCausalLM
        safely = {"use_safetensors": True, "local_files_only": True}
        model = kind.from_pretrained(folder, config=config, dtype=dtype, **safely, **settings)
        door = hf.AutoProcessor if pictures else hf.AutoTokenizer
        return model, door.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, ImportError, KeyError) as e:
        raise UserError(
            f"{folder}: the model cannot be loaded: {e}",
            mend="it needs config.json, *.safetensors and tokenizer files, and no code of its own",
        ) from None


def find(target: str) -> tuple[Path, Path | None]:
    """Folders of the model and of its adapter, if one is named after `@`."""
    name, at, adapter = target.rpartition("@")
    if not at or Path(target).is_dir():
        return _folder(target), None
    return _folder(name), _folder(adapter)


def revision(folder: Path) -> str:
    """16 hex digits of a SHA-256 over names and contents of weights, settings and vocabulary."""
    files = sorted(p for p in folder.iterdir() if p.suffix in _COUNTED and p.is_file())
    total = hashlib.sha256()
    for path in files:
        facts = path.stat()
        total.update(f"{path.name}\0{_sha256(path, facts.st_size, facts.st_mtime_ns)}\n".encode())
    return total.hexdigest()[:16]


@functools.lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, changed: int) -> str:
    """Hash of a file; size and time of change are arguments so that a new file is hashed anew."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _folder(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):
        raise UserError(
            f"{name!r} is neither a folder nor in the local Hugging Face cache",
            mend=f"give a folder, or fetch it first: hf download {name}",
        ) from None


def _adapted(model: Any, folder: Path) -> Any:
    try:
        from peft import PeftModel
    except ImportError:
        raise MissingExtra("peft", "train") from None
    if not (folder / "adapter_model.safetensors").is_file():
        raise UserError(f"{folder} holds no adapter_model.safetensors", mend="name a peft adapter")
    try:
        # Merged, so that an adapter costs nothing at decoding time.
        return PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError) as e:
        raise UserError(f"the adapter in {folder} does not fit this model: {e}") from None


def device_of(name: str) -> str:
    """The device meant by `auto`: CUDA, else MPS, else the CPU; any other name as it is."""
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def dtype_of(name: str, device: str) -> Any:
    """`auto` is float32 on a CPU, the same on every machine, else the file's own."""
    if name != "auto":
        return getattr(torch, name)
    return torch.float32 if device == "cpu" else "auto"
