"""Resolve, check and load a model from disk: a folder, or a hub name that is in the local cache.

Nothing is downloaded, only safetensors are loaded, and no remote code is run.

    model, processor, revision = load_model_and_processor("models/smolvlm", BackendOptions())
"""

import functools
import hashlib
import json
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import transformers as hf
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from gen_msa import manifest
from gen_msa.backends.base import BackendOptions
from gen_msa.backends.hf import adapters
from gen_msa.backends.hf.adapters import AdapterMetadata
from gen_msa.backends.hf.devices import resolve_device, resolve_dtype
from gen_msa.encoders import vision
from gen_msa.errors import UserError, user_errors
from gen_msa.safety_scan import scan_folder, tensor_shapes

_HASHED_SUFFIXES = (".safetensors", ".json", ".jinja", ".model", ".txt")
_LOAD_HINT = "it needs config.json, *.safetensors and tokenizer files, and no remote code"
_TIED_WEIGHTS = 2
"""How many times a stored parameter may be used: embeddings may be those of the output too."""
_PACKED_VALUES = 16
"""How many quantized parameters one stored number may hold."""
_NOT_WEIGHTS = ("transformers_version", "_name_or_path", "dtype", "torch_dtype", "use_cache")


class InferenceModel(NamedTuple):
    """A loaded model and the record of its training."""

    model: Any
    processor: Any
    revision: str
    metadata: AdapterMetadata | None
    """Content of `inference.json` of the adapter, or of a fully fine-tuned model."""
    notes: dict[str, str]
    """What could not be checked, by name."""


def load_model_and_processor(target: str, options: BackendOptions) -> tuple[Any, Any, str]:
    """Load a model as `load_inference_model` does.

    Args:
        target: `MODEL[@ADAPTER]`.
        options: `device` and `dtype` are used.

    Returns:
        The model in evaluation mode, its processor (tokenizer if text-only), and its revision.

    Raises:
        UserError: A check failed.
    """
    loaded = load_inference_model(target, options)
    return loaded.model, loaded.processor, loaded.revision


def load_inference_model(target: str, options: BackendOptions) -> InferenceModel:
    """Load a model, and merge its adapter into it, after every check.

    Args:
        target: `MODEL[@ADAPTER]`.
        options: `device` and `dtype` are used.

    Returns:
        The model in evaluation mode with its processor and metadata.

    Raises:
        UserError: A check failed.
    """
    folder, adapter = resolve_target(target)
    device = resolve_device(options.device)
    model, processor = load_pretrained(folder, resolve_dtype(options.dtype, device))
    model = model.to(device).eval()
    metadata, notes = adapters.read_metadata(folder), dict[str, str]()
    if metadata is not None:
        adapters.check_template(metadata, processor, folder)
        if metadata.probe is not None:
            adapters.check_probe(metadata.probe, model, processor, folder)
    if adapter is not None:
        model, metadata, notes = adapters.merge_adapter(
            model, processor, adapter, base_hash(folder)
        )
    parts = [folder_revision(folder), *([folder_revision(adapter)] if adapter else [])]
    revision_text = "+".join(parts) + f"/{str(model.dtype)[6:]}"
    return InferenceModel(model.eval(), processor, revision_text, metadata, notes)


def load_pretrained(folder: Path, dtype: Any, **settings: Any) -> tuple[Any, Any]:
    """Load model and processor (tokenizer if text-only) of a folder.

    Args:
        folder: The model's folder.
        dtype: Torch dtype, or `auto`.
        **settings: Further arguments of `from_pretrained`.

    Returns:
        Model and processor.

    Raises:
        UserError: A file is missing, leads to code, or differs from the folder's manifest.
    """
    scan_folder(folder, "model")
    if (folder / manifest.MANIFEST_NAME).is_file():
        manifest.verify(folder)
    vision.register_vision_encoders()
    with _quiet_progress_bars(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return _load_pretrained(folder, dtype, **settings)


@contextmanager
def _quiet_progress_bars() -> Iterator[None]:
    """Hide the bar that transformers shows while it loads weights."""
    had_bars = hf.utils.logging.is_progress_bar_enabled()
    hf.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if had_bars:
            hf.utils.logging.enable_progress_bar()


def _load_pretrained(folder: Path, dtype: Any, **settings: Any) -> tuple[Any, Any]:
    with user_errors(f"{folder}: the model", "cannot be loaded", hint=_LOAD_HINT):
        config = hf.AutoConfig.from_pretrained(folder, local_files_only=True)
        has_vision = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        auto_class = hf.AutoModelForImageTextToText if has_vision else hf.AutoModelForCausalLM
        _check_parameter_count(folder, auto_class, config)
        safe_kwargs = {"use_safetensors": True, "local_files_only": True}
        model = auto_class.from_pretrained(
            folder, config=config, dtype=dtype, **safe_kwargs, **settings
        )
        return model, _auto_processor(folder, config)


def _check_parameter_count(folder: Path, auto_class: Any, config: Any) -> None:
    """Refuse a config of more parameters than the weights have, before memory is taken for them.

    Args:
        folder: The model's folder.
        auto_class: Auto class of the model.
        config: Its config.

    Raises:
        UserError: The model would be larger than its weights.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return
    stored = sum(math.prod(s) for file in files for s in tensor_shapes(file).values())
    packed = _PACKED_VALUES if getattr(config, "quantization_config", None) else 1
    with torch.device("meta"):  # takes no memory
        planned = sum(p.numel() for p in auto_class.from_config(config).parameters())
    if planned > _TIED_WEIGHTS * packed * stored:
        raise UserError(
            f"{folder}: its config is for {planned:,} parameters, and its weights have {stored:,}",
            hint=_LOAD_HINT,
        )


def load_processor(folder: Path) -> Any:
    """Load only the processor (tokenizer if text-only), for a model that another engine holds.

    Args:
        folder: The model's folder.

    Raises:
        UserError: It cannot be loaded.
    """
    vision.register_vision_encoders()
    with user_errors(f"{folder}: the processor", "cannot be loaded", hint=_LOAD_HINT):
        return _auto_processor(folder, hf.AutoConfig.from_pretrained(folder, local_files_only=True))


def _auto_processor(folder: Path, config: Any) -> Any:
    has_vision = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    auto_class = hf.AutoProcessor if has_vision else hf.AutoTokenizer
    return auto_class.from_pretrained(folder, local_files_only=True)


def check_folder(folder: Path, kind: Literal["model", "adapter"]) -> None:
    """Refuse a folder that leads to code or differs from its manifest, before a library reads it.

    Args:
        folder: Folder to check.
        kind: What it should hold.

    Raises:
        UserError: A check failed.
    """
    scan_folder(folder, kind)
    if (folder / manifest.MANIFEST_NAME).is_file():
        manifest.verify(folder)


def resolve_target(target: str) -> tuple[Path, Path | None]:
    """Resolve `MODEL[@ADAPTER]`.

    Args:
        target: Folders or hub names.

    Returns:
        Folder of the model, and of the adapter if one is named.

    Raises:
        UserError: A name is neither a folder nor in the local cache.
    """
    name, separator, adapter = target.rpartition("@")
    if not separator or Path(target).is_dir():
        return _resolve_folder(target), None
    return _resolve_folder(name), _resolve_folder(adapter)


def folder_revision(folder: Path) -> str:
    """Return 16 hex digits of a SHA-256 over weights, settings and vocabulary, with file names."""
    files = sorted(p for p in folder.iterdir() if p.suffix in _HASHED_SUFFIXES and p.is_file())
    hasher = hashlib.sha256()
    for path in files:
        stat = path.stat()
        hasher.update(f"{path.name}\0{_sha256(path, stat.st_size, stat.st_mtime_ns)}\n".encode())
    return hasher.hexdigest()[:16]


def base_hash(folder: Path) -> str:
    """Return 64 hex digits over a model's safetensors and the part of its config that shapes it.

    The same for the same weights, whatever version of transformers wrote them, which tokenizer is
    beside
    them, and in which precision they are loaded.
    """
    hasher = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        stat = path.stat()
        hasher.update(f"{path.name}\0{_sha256(path, stat.st_size, stat.st_mtime_ns)}\n".encode())
    with user_errors(folder / "config.json", hint=_LOAD_HINT):
        config = json.loads((folder / "config.json").read_bytes())
    hasher.update(json.dumps(_architecture_config(config), sort_keys=True).encode())
    return hasher.hexdigest()


def _architecture_config(config: Any) -> Any:
    if isinstance(config, dict):
        return {k: _architecture_config(v) for k, v in config.items() if k not in _NOT_WEIGHTS}
    return config


@functools.lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    """Hash a file; with size and modification time in the cache key, a changed file is rehashed."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _resolve_folder(name: str) -> Path:
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
            hint=f"give a folder, or download it first: hf download {name}",
        ) from None
