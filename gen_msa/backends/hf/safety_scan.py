"""Scan a model's or adapter's folder before a library reads anything in it.

`trust_remote_code=False` is not enough: keys of a config have made transformers and peft import or
download code before. So whatever could run, download, unpickle or point out of the folder is
refused by name, and nothing is imported to find it. What trainers leave beside the weights and no
loader opens (`training_args.bin`, `optimizer.pt`, `original/`) is passed over.

    scan_folder(Path("models/smolvlm"), "model")  # UserError naming file, key and hint
"""

import json
import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from gen_msa.errors import UserError, user_errors

MAX_JSON_BYTES = 64 << 20
"""Bytes of one JSON file. The largest tokenizer.json in use has about 35 MB."""
MAX_FILES = 10_000
CODE_SUFFIXES = frozenset({".py", ".pyc", ".pyd", ".so", ".dll", ".dylib"})
PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib"})

_UNOPENED_FILES = re.compile(
    r"training_args\.bin|(?:optimizer|scheduler)\.(?:pt|bin)|scaler\.pt|rng_state\w*\.pth"
    r"|args\.json|trainer_state\.json"
)
"""Files that Trainer, TRL, LLaMA-Factory, ms-swift and unsloth leave, and no loader opens."""
_UNOPENED_FOLDERS = frozenset({".git", ".cache", "original"})

_PLAIN_ATTENTION = re.compile(r"(paged\|)?[a-z0-9_]+")
_ATTENTION_KEYS = frozenset(
    {"attn_implementation", "_attn_implementation", "experts_implementation"}
    | {"_experts_implementation", "attention_implementation"}
)
_FORBIDDEN_KEYS = {
    "auto_map": "remote code",
    "custom_pipelines": "remote code",
    "custom_generate": "remote code",
    "trust_remote_code": "remote code",
    "use_kernels": "compiled code from a hub",
    "kernel_config": "compiled code from a hub",
    "allow_all_kernels": "compiled code from a hub",
    "megatron_config": "a module to import",
    "megatron_core": "a module to import",
    "transformers_weights": "weights outside the folder",
}
_HARMLESS_VALUES = {"megatron_core": ("megatron.core",)}
"""Values that peft itself writes into every adapter; without `megatron_config` they do nothing."""
_VOCABULARY_KEYS = frozenset({"vocab", "added_tokens_decoder"})
_VOCABULARY_FILES = frozenset({"vocab.json", "added_tokens.json"})
"""Keys of tokenizer files, and files, below which keys are tokens of a vocabulary."""
_HINT = "use a model that needs no remote code, or remove this entry if you trust the rest"


def scan_folder(folder: Path, kind: Literal["model", "adapter"]) -> None:
    """Refuse a folder with code, a pickle, a link out of it, or a key that leads to code.

    Args:
        folder: Folder to scan.
        kind: What it should hold.

    Raises:
        UserError: Names the first such file, in order of names, and its key.
    """
    if kind == "model" and (folder / "adapter_config.json").exists():
        # transformers would load whatever base model the adapter names.
        raise UserError(
            f"{folder} is an adapter, not a model", hint=f"name its base model: BASE@{folder}"
        )
    for count, path in enumerate(sorted(_walk(folder))):
        if count >= MAX_FILES:
            raise UserError(
                f"{folder} has more than {MAX_FILES:,} files", hint="name a model folder"
            )
        _check_link(path, folder)
        if _UNOPENED_FILES.fullmatch(path.name):
            continue
        suffix = path.suffix.lower()
        if suffix in CODE_SUFFIXES:
            raise UserError(f"{path}: code is not allowed in a model folder", hint=_HINT)
        if suffix in PICKLE_SUFFIXES:
            raise UserError(
                f"{path}: pickles can run code and are never loaded",
                hint="use the model's safetensors, and remove this file",
            )
        if suffix == ".json":
            _check_json(path)


def _walk(folder: Path) -> Iterator[Path]:
    """Iterate over files and links at any depth, without folders that no library reads.

    Linked folders are not entered.
    """
    for parent, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if f not in _UNOPENED_FOLDERS]
        linked = [f for f in folders if (Path(parent) / f).is_symlink()]
        yield from (Path(parent) / name for name in [*files, *linked])


def _check_link(path: Path, folder: Path) -> None:
    """Refuse a link, unless it stays in the folder or is the hub cache's `../../blobs/HASH`."""
    if not path.is_symlink():
        return
    target = path.resolve()
    allowed = [folder.resolve()]
    if folder.resolve().parent.name == "snapshots":
        allowed.append(folder.resolve().parent.parent / "blobs")
    if path.is_dir() or not any(target.is_relative_to(root) for root in allowed):
        raise UserError(
            f"{path} is a link out of its folder", hint="copy the file itself into the folder"
        )
    if not path.exists():
        raise UserError(f"{path} is a broken link", hint="download the model again")


def _check_json(path: Path) -> None:
    """Check all keys, at any depth, of one file."""
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise UserError(
            f"{path} has {size:,} bytes; the limit is {MAX_JSON_BYTES:,}",
            hint="download the model again",
        )
    with user_errors(path, "is not JSON", hint="download the file again"):
        tree = json.loads(path.read_bytes())
    if path.name in _VOCABULARY_FILES:
        return
    for key_path, key, value in _iter_keys(tree, path.name.startswith("tokenizer")):
        if reason := _forbidden_reason(key, value):
            raise UserError(f"{path}: key {key_path!r}: {reason}", hint=_HINT)
    if path.name.endswith(".index.json") and isinstance(tree, dict):
        _check_index(path, tree)


def _iter_keys(tree: Any, tokenizer: bool) -> Iterator[tuple[str, str, Any]]:
    """Iterate over all keys at any depth: dotted path, key, value."""
    stack: list[tuple[str, Any]] = [("", tree)]
    while stack:
        prefix, node = stack.pop()
        if isinstance(node, dict):
            for key, value in node.items():
                yield prefix + key, key, value
                if not (tokenizer and key in _VOCABULARY_KEYS):
                    stack.append((f"{prefix}{key}.", value))
        elif isinstance(node, list):
            stack += [(prefix, value) for value in node if isinstance(value, dict | list)]


def _forbidden_reason(key: str, value: Any) -> str:
    """Return why a key must not be in a model's settings; "" if it may."""
    if not value or value in _HARMLESS_VALUES.get(key, ()):
        return ""
    if key in _FORBIDDEN_KEYS:
        return f"it leads to {_FORBIDDEN_KEYS[key]}"
    if key.endswith("_internal"):
        return "only transformers itself may set it"
    if key in _ATTENTION_KEYS and not all(_is_built_in(v) for v in _strings(value)):
        return f"it leads to compiled code from a hub ({value!r})"
    if key == "parent_library" and not str(value).startswith("transformers."):
        return f"it leads to a module to import ({value!r})"
    return ""


def _is_built_in(attention: str) -> bool:
    """Return whether a name means built-in code or an installed package, not hub kernels."""
    if "flash" in attention and find_spec("flash_attn") is None:
        return False
    return _PLAIN_ATTENTION.fullmatch(attention) is not None


def _strings(value: Any) -> list[str]:
    """Return the strings in a value; `?` for anything that is neither string nor mapping."""
    if isinstance(value, dict):
        return [s for v in value.values() for s in _strings(v)]
    return [value if isinstance(value, str) else "?"]


def _check_index(path: Path, tree: dict[str, Any]) -> None:
    """Require shards to be plain names of safetensors in the same folder."""
    weight_map = tree.get("weight_map")
    for shard in set(weight_map.values()) if isinstance(weight_map, dict) else ():
        if not isinstance(shard, str) or Path(shard).name != shard or "\\" in shard:
            raise UserError(f"{path}: key 'weight_map': {shard!r} is not in the folder", hint=_HINT)
        if not shard.endswith(".safetensors"):
            raise UserError(
                f"{path}: key 'weight_map': {shard!r} is not a safetensors file", hint=_HINT
            )
