"""The builtin model with its adapter merged in, stored in the user's cache for fast starts.

Its folder is named by a digest of all that decides the weights: the packaged weights, every file of
the adapter, and the versions of the libraries that merge. It appears complete or not at all, and
every file is compared with its hash at each start; then the weights are mapped, not read.

    folder = merged_folder(adapter)
    if not manifest.is_intact(folder):
        store(model, processor, MergeRecord(revision=revision, notes={}), folder)
    model, processor, record = load(folder)
"""

import hashlib
import os
import shutil
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gen_msa import __version__, builtin, manifest
from gen_msa.settings import Settings

MAX_FOLDERS = 2
"""Merged models that stay in the cache, 560 MB each; the least recently used one is removed."""
ALIGNMENT = 64
"""Bytes; no vector instruction loads more at once."""
_PREFIX = "builtin-merged-"
_RECORD_FILE = "merge.json"
_MERGING_PACKAGES = ("peft", "safetensors", "tokenizers", "torch", "transformers")


class MergeRecord(Settings):
    """What is known of a merge and cannot be read from the weights."""

    revision: str
    """Revision of base and adapter, as the backend names it."""
    notes: dict[str, str]
    """What could not be checked, by name."""


def merged_folder(adapter: Path) -> Path:
    """Return the folder of the model with this adapter, whether it exists or not.

    Args:
        adapter: The adapter's folder.

    Raises:
        UserError: A package of weights is missing.
        MissingExtra: A library is missing.
        OSError: A file of the adapter cannot be read.
    """
    versions = [f"{name} {_version(name)}" for name in _MERGING_PACKAGES]
    parts = [builtin.model_revision(), manifest.digest(adapter), __version__, *versions]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return builtin.cache_folder() / f"{_PREFIX}{key}"


def is_storable(model: Any) -> bool:
    """Return whether `load` can map the model: its tensors are those of `InferenceLlava`.

    Args:
        model: A merged model; an adapter of an unusual kind may leave tensors of its own.
    """
    import torch

    from gen_msa.builtin.inference_model import TIED_WEIGHTS, InferenceLlava

    try:
        with torch.device("meta"):
            expected = InferenceLlava(model.config.to_dict()).state_dict()
    except ValueError:
        return False
    state = {n: t for n, t in model.state_dict().items() if n not in TIED_WEIGHTS}
    return {n: (t.shape, torch.float32) for n, t in expected.items()} == {
        n: (t.shape, t.dtype) for n, t in state.items()
    }


def store(model: Any, processor: Any, record: MergeRecord, folder: Path) -> None:
    """Write a merged model; the least recently used ones beyond `MAX_FOLDERS` are removed.

    Args:
        model: The merged model, in float32.
        processor: Its processor.
        record: What is known of the merge.
        folder: Folder from `merged_folder`.

    Raises:
        OSError: The folder cannot be written.
    """
    from gen_msa.builtin.inference_model import TIED_WEIGHTS, WEIGHTS_FILE

    state = {n: t.contiguous() for n, t in model.state_dict().items() if n not in TIED_WEIGHTS}
    with manifest.atomic_directory(folder) as draft:
        _save_aligned(state, draft / WEIGHTS_FILE)
        model.config.save_pretrained(draft)
        processor.save_pretrained(draft)
        (draft / _RECORD_FILE).write_text(record.model_dump_json(indent=1), "utf-8")
    _remove_unused(folder)


def load(folder: Path) -> tuple[Any, Any, MergeRecord]:
    """Map a stored model into memory; `manifest.is_intact` must have checked the folder.

    Args:
        folder: Folder from `merged_folder`.

    Returns:
        The model for answering, its processor, and the record of the merge.

    Raises:
        OSError: A file cannot be read, e.g. because another process removed the folder.
    """
    from gen_msa.builtin.inference_model import InferenceLlava
    from gen_msa.builtin.inference_processor import InferenceProcessor

    record = MergeRecord.model_validate_json((folder / _RECORD_FILE).read_bytes())
    model, processor = InferenceLlava.load(folder), InferenceProcessor(folder)
    # The time of its last use; a folder that is not writable keeps the old one.
    with suppress(OSError):
        os.utime(folder)
    return model, processor, record


def _save_aligned(state: dict[str, Any], path: Path) -> None:
    """Write safetensors whose data begin at a multiple of `ALIGNMENT` bytes.

    Matrix products round differently where mapped weights begin in the middle of a vector, so
    answers would depend on the length of the header.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    padding = ""
    try:
        save_file(state, path, metadata={"padding": padding})
        while excess := (8 + _header_length(path)) % ALIGNMENT:
            padding += " " * (ALIGNMENT - excess)
            save_file(state, path, metadata={"padding": padding})
    except SafetensorError as e:  # safetensors reports a full disk with an error of its own
        raise OSError(str(e)) from None


def _header_length(path: Path) -> int:
    with path.open("rb") as f:
        return int.from_bytes(f.read(8), "little")


def _remove_unused(used: Path) -> None:
    folders = [p for p in used.parent.glob(f"{_PREFIX}*") if p.is_dir() and p != used]
    by_use = sorted(folders, key=_last_use, reverse=True)
    for folder in by_use[MAX_FOLDERS - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)


def _last_use(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
