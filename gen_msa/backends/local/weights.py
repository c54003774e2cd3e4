"""Finds, checks and loads a model from disk: a folder, or a hub name that lies in the local cache.

Nothing is fetched, only safetensors are read, and no code of a model's own is run. Knows nothing of
chats.

    model, processor, revision = load("models/smolvlm@adapters/mabsa", BackendOptions())
"""

import functools
import hashlib
import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import transformers as hf
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from gen_msa import manifest, towers
from gen_msa.backends.base import BackendOptions
from gen_msa.backends.local import adapters
from gen_msa.backends.local.adapters import AdapterFacts
from gen_msa.backends.local.scan import scan
from gen_msa.errors import UserError

_COUNTED = (".safetensors", ".json", ".jinja", ".model", ".txt")
_UNLOADABLE = (OSError, ValueError, ImportError, KeyError)
_NOT_WEIGHTS = ("transformers_version", "_name_or_path", "dtype", "torch_dtype", "use_cache")


class Opened(NamedTuple):
    """A model ready to be asked, and what is known of how it was trained."""

    model: Any
    processor: Any
    revision: str
    facts: AdapterFacts | None
    """What `reading.json` of the adapter, or of a fine-tuned model's own folder, says."""
    notes: dict[str, str]
    """What could not be checked."""


def load(target: str, options: BackendOptions) -> tuple[Any, Any, str]:
    """Model in evaluation mode, its processor (tokenizer if text-only), and its revision."""
    found = opened(target, options)
    return found.model, found.processor, found.revision


def opened(target: str, options: BackendOptions) -> Opened:
    """The model of `MODEL[@ADAPTER]`, every check made. Raises `UserError` for one that fails."""
    folder, adapter = find(target)
    device = device_of(options.device)
    model, processor = read(folder, dtype_of(options.dtype, device))
    model = model.to(device).eval()
    facts, notes = adapters.read(folder), dict[str, str]()
    if facts is not None:
        adapters.check_template(facts, processor, folder)
        if facts.probe is not None:
            adapters.check_probe(facts.probe, model, processor, folder)
    if adapter is not None:
        model, facts, notes = adapters.attach(model, processor, adapter, base_hash(folder))
    parts = [revision(folder), *([revision(adapter)] if adapter else [])]
    said = "+".join(parts) + f"/{str(model.dtype)[6:]}"
    return Opened(model.eval(), processor, said, facts, notes)


def read(folder: Path, dtype: Any, **settings: Any) -> tuple[Any, Any]:
    """The model and its processor (tokenizer if text-only) as they lie in `folder`.

    `settings` go to `from_pretrained`. Raises `UserError` when anything is missing, leads to code,
    or is not as the folder was sealed.
    """
    scan(folder, "model")
    if (folder / manifest.NAME).is_file():
        manifest.check(folder)
    towers.register()
    try:
        config = hf.AutoConfig.from_pretrained(folder, local_files_only=True)
        pictures = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        kind = hf.AutoModelForImageTextToText if pictures else hf.AutoModelForCausalLM
        safely = {"use_safetensors": True, "local_files_only": True}
        model = kind.from_pretrained(folder, config=config, dtype=dtype, **safely, **settings)
        return model, _processor(folder, config)
    except _UNLOADABLE as e:
        raise _cannot(folder, e) from None


def processor(folder: Path) -> Any:
    """The processor alone (tokenizer if text-only), for a model that another engine holds.

    Raises `UserError` as `read` does.
    """
    towers.register()
    try:
        return _processor(folder, hf.AutoConfig.from_pretrained(folder, local_files_only=True))
    except _UNLOADABLE as e:
        raise _cannot(folder, e) from None


def _processor(folder: Path, config: Any) -> Any:
    pictures = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    door = hf.AutoProcessor if pictures else hf.AutoTokenizer
    return door.from_pretrained(folder, local_files_only=True)


def _cannot(folder: Path, e: Exception) -> UserError:
    mend = "it needs config.json, *.safetensors and tokenizer files, and no code of its own"
    return UserError(f"{folder}: the model cannot be loaded: {e}", mend=mend)


def guard(folder: Path, kind: Literal["model", "adapter"]) -> None:
    """Refuse a folder that leads to code, or is not as it was sealed, before a library reads it."""
    scan(folder, kind)
    if (folder / manifest.NAME).is_file():
        manifest.check(folder)


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


def base_hash(folder: Path) -> str:
    """64 hex digits over a model's safetensors and the part of its config that shapes it.

    The same for the same weights whatever version of transformers wrote them down, which tokenizer
    lies beside them, and in which precision they are read.
    """
    total = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        facts = path.stat()
        total.update(f"{path.name}\0{_sha256(path, facts.st_size, facts.st_mtime_ns)}\n".encode())
    config = json.loads((folder / "config.json").read_bytes())
    total.update(json.dumps(_shaping(config), sort_keys=True).encode())
    return total.hexdigest()


def _shaping(config: Any) -> Any:
    if isinstance(config, dict):
        return {k: _shaping(v) for k, v in config.items() if k not in _NOT_WEIGHTS}
    return config


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
