"""Looks through a model's or adapter's folder before anything in it is read by a library.

`trust_remote_code=False` is not enough: keys of a config have made transformers and peft import or
fetch code before. So whatever could run, fetch, unpickle or lead out of the folder is refused by
name, and nothing is imported to find it. Knows nothing of torch or of weights.

    scan(Path("models/smolvlm"), "model")     # UserError naming the file, the key and the mend
"""

import json
import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from gen_msa.errors import UserError

MOST_BYTES = 64 << 20
"""Bytes of one JSON file. The largest tokenizer.json in use has about 35 MB."""
MOST_FILES = 10_000
CODE = frozenset({".py", ".pyc", ".pyd", ".so", ".dll", ".dylib"})
PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib"})

_PLAIN_ATTENTION = re.compile(r"(paged\|)?[a-z0-9_]+")
_OF_ATTENTION = frozenset(
    {"attn_implementation", "_attn_implementation", "experts_implementation"}
    | {"_experts_implementation", "attention_implementation"}
)
_REFUSED = {
    "auto_map": "code of the model's own",
    "custom_pipelines": "code of the model's own",
    "custom_generate": "code of the model's own",
    "trust_remote_code": "code of the model's own",
    "use_kernels": "compiled code from a hub",
    "kernel_config": "compiled code from a hub",
    "allow_all_kernels": "compiled code from a hub",
    "megatron_config": "a module to import",
    "megatron_core": "a module to import",
    "transformers_weights": "weights elsewhere",
}
_HARMLESS = {"megatron_core": ("megatron.core",)}
"""Values that peft itself writes into every adapter; they do nothing without `megatron_config`."""
_WORDS = frozenset({"vocab", "added_tokens_decoder"})
_ALL_WORDS = frozenset({"vocab.json", "added_tokens.json"})
"""Keys of tokenizer files, and files, below which keys are words of a vocabulary, not settings."""
_MEND = "take a model that needs no code of its own, or remove what is named if you trust the rest"


def scan(folder: Path, kind: Literal["model", "adapter"]) -> None:
    """Refuse a folder that holds code, a pickle, a link out of it, or a key that leads to code.

    Raises `UserError` naming the first such file, in order of names, and its key.
    """
    if kind == "model" and (folder / "adapter_config.json").exists():
        # transformers would go and load whatever base the adapter names.
        raise UserError(
            f"{folder} is an adapter, not a model", mend=f"name its base: BASE@{folder}"
        )
    for count, path in enumerate(sorted(_walk(folder))):
        if count >= MOST_FILES:
            raise UserError(f"{folder} holds more than {MOST_FILES:,} files", mend="name a model")
        _check_link(path, folder)
        suffix = path.suffix.lower()
        if suffix in CODE:
            raise UserError(f"{path}: a model's folder may hold no code", mend=_MEND)
        if suffix in PICKLES:
            raise UserError(
                f"{path}: a pickle can run code when it is read, so none is",
                mend="take the model as safetensors, and remove this file",
            )
        if suffix == ".json":
            _check_json(path)


def _walk(folder: Path) -> Iterator[Path]:
    """Every file and link at any depth, `.git` and `.cache` left out; no linked folder is entered.

    A download tool's own `.cache` holds no file a library would read.
    """
    for place, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if f not in (".git", ".cache")]
        linked = [f for f in folders if (Path(place) / f).is_symlink()]
        yield from (Path(place) / name for name in [*files, *linked])


def _check_link(path: Path, folder: Path) -> None:
    """A link may stay in the folder, or be what the hub's cache makes: `../../blobs/HASH`."""
    if not path.is_symlink():
        return
    target = path.resolve()
    allowed = [folder.resolve()]
    if folder.resolve().parent.name == "snapshots":
        allowed.append(folder.resolve().parent.parent / "blobs")
    if path.is_dir() or not any(target.is_relative_to(place) for place in allowed):
        raise UserError(f"{path} is a link out of its folder", mend="put the file itself there")
    if not path.exists():
        raise UserError(f"{path} is a link to nothing", mend="fetch the model anew")


def _check_json(path: Path) -> None:
    """The settings in one file, all keys at any depth."""
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise UserError(
            f"{path} has {size:,} bytes; no settings file is over {MOST_BYTES:,}",
            mend="take the model from where it comes from anew",
        )
    try:
        tree = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as e:
        raise UserError(f"{path} is not JSON: {e}", mend="take the file anew") from None
    if path.name in _ALL_WORDS:
        return
    for where, key, value in _keys(tree, path.name.startswith("tokenizer")):
        if reason := _why_not(key, value):
            raise UserError(f"{path}: key {where!r}: {reason}", mend=_MEND)
    if path.name.endswith(".index.json") and isinstance(tree, dict):
        _check_index(path, tree)


def _keys(tree: Any, tokenizer: bool) -> Iterator[tuple[str, str, Any]]:
    """Every key at any depth, as dotted path, key and value."""
    open_: list[tuple[str, Any]] = [("", tree)]
    while open_:
        at, node = open_.pop()
        if isinstance(node, dict):
            for key, value in node.items():
                yield at + key, key, value
                if not (tokenizer and key in _WORDS):
                    open_.append((f"{at}{key}.", value))
        elif isinstance(node, list):
            open_ += [(at, value) for value in node if isinstance(value, dict | list)]


def _why_not(key: str, value: Any) -> str:
    """Why a key must not stand in a model's settings, or ""."""
    if not value or value in _HARMLESS.get(key, ()):
        return ""
    if key in _REFUSED:
        return f"it leads to {_REFUSED[key]}"
    if key.endswith("_internal"):
        return "only transformers itself may set it"
    if key in _OF_ATTENTION and not all(_is_built_in(v) for v in _strings(value)):
        return f"it leads to compiled code from a hub ({value!r})"
    if key == "parent_library" and not str(value).startswith("transformers."):
        return f"it leads to a module to import ({value!r})"
    return ""


def _is_built_in(attention: str) -> bool:
    """Whether a name means transformers' own code or an installed package, not a hub's kernels."""
    if "flash" in attention and find_spec("flash_attn") is None:
        return False
    return _PLAIN_ATTENTION.fullmatch(attention) is not None


def _strings(value: Any) -> list[str]:
    """The strings in a value; what is neither string nor mapping counts as an odd one."""
    if isinstance(value, dict):
        return [s for v in value.values() for s in _strings(v)]
    return [value if isinstance(value, str) else "?"]


def _check_index(path: Path, tree: dict[str, Any]) -> None:
    """Names of shards are plain names of safetensors in the same folder."""
    named = tree.get("weight_map")
    for shard in set(named.values()) if isinstance(named, dict) else ():
        if not isinstance(shard, str) or Path(shard).name != shard or "\\" in shard:
            raise UserError(f"{path}: key 'weight_map': {shard!r} is not in the folder", mend=_MEND)
        if not shard.endswith(".safetensors"):
            raise UserError(f"{path}: key 'weight_map': {shard!r} is no safetensors", mend=_MEND)
