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
_MIN_SIZE_LIMIT = 1 << 18
"""A size up to which a config is not compared with its weights: positions, windows, pixels."""
_MIN_LAYER_LIMIT = 128
"""Layers up to which a config is not compared with its weights: it may have unused parts."""
_LAYERS_KEY = re.compile(
    r"layers?$|_depths?$|^depths?$|_blocks$|^num_stages$|^n_layer", re.IGNORECASE
)
"""Keys of counts that a model makes modules for. Each of them has a tensor or more."""
_SIZE_KEY = re.compile(
    r"(?:_size|_dim|_dims|_heads|_experts|_channels|_width|_inner|_embd|_tokens"
    r"|^width|^inner|^positions|^heads|^dim|^text|^context)$",
    re.IGNORECASE,
)
"""Keys of sizes that a model takes memory for."""
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
    check_sizes(folder, "adapter_config.json" if kind == "adapter" else "config.json")


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a safetensors file, from its header alone.

    Args:
        path: The file.

    Raises:
        UserError: The header is damaged, or over `MAX_JSON_BYTES`.
    """
    with user_errors(path, "is not a readable safetensors file", hint="download the file again"):
        with path.open("rb") as f:
            length = int.from_bytes(f.read(8), "little")
            if not 2 <= length <= min(MAX_JSON_BYTES, path.stat().st_size):
                raise ValueError(f"its header is said to have {length:,} bytes")
            header = json.loads(f.read(length))
        return {
            name: tuple(map(int, tensor["shape"]))
            for name, tensor in header.items()
            if name != "__metadata__"
        }


def check_sizes(folder: Path, config: str, tree: Any = None) -> None:
    """Refuse a config whose sizes are beyond its weights, before memory is taken for them.

    Args:
        folder: Folder of the weights.
        config: Name of the config's file.
        tree: What to check, if it is only a part of the file.

    Raises:
        UserError: Names the first such key; or a file cannot be read.
    """
    path = folder / config
    files = sorted(folder.glob("*.safetensors"))
    if not path.is_file() or not files:
        return
    if tree is None:
        _check_json_size(path)
        with user_errors(path, "is not JSON", hint="download the file again"):
            tree = json.loads(path.read_bytes())
    shapes = [shape for file in files for shape in tensor_shapes(file).values()]
    largest = max([1, *(n for shape in shapes for n in shape)])
    for key_path, key, value in _iter_keys(tree, tokenizer=False):
        if key == "r" or key_path.startswith("rank_pattern."):
            limit = largest  # a rank is a dimension of the adapter's tensors
        elif _LAYERS_KEY.search(key):
            limit = max(len(shapes), _MIN_LAYER_LIMIT)
        elif _SIZE_KEY.search(key):
            limit = max(largest, _MIN_SIZE_LIMIT)
        else:
            continue
        numbers = value if isinstance(value, list) else [value]
        for number in numbers:
            if isinstance(number, int | float) and not isinstance(number, bool) and number > limit:
                raise UserError(
                    f"{path}: key {key_path!r}: {number:,} is more than the weights have",
                    hint="download the model again, or train it again",
                )


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
    _check_json_size(path)
    with user_errors(path, "is not JSON", hint="download the file again"):
        tree = json.loads(path.read_bytes())
    if path.name in _VOCABULARY_FILES:
        return
    for key_path, key, value in _iter_keys(tree, path.name.startswith("tokenizer")):
        if reason := _forbidden_reason(key, value):
            raise UserError(f"{path}: key {key_path!r}: {reason}", hint=_HINT)
    if path.name.endswith(".index.json") and isinstance(tree, dict):
        _check_index(path, tree)


def _check_json_size(path: Path) -> None:
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise UserError(
            f"{path} has {size:,} bytes; the limit is {MAX_JSON_BYTES:,}",
            hint="download the model again",
        )


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
