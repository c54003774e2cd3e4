"""A folder that is there whole or not at all: staged, sealed with hashes, renamed, and checked.

`MANIFEST.json` lists the size and sha256 of every file below a folder and is written last. Knows
nothing of what the files hold.

    with staged(Path("adapters/mabsa")) as draft:
        (draft / "figures.json").write_text("{}")
    check(Path("adapters/mabsa"))        # UserError naming the first file that is not as it was
"""

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from gen_msa.errors import UserError
from gen_msa.jsonl import atomic_write as whole_file
from gen_msa.jsonl import is_process_running

MANIFEST_NAME = "MANIFEST.json"
LOADABLE_SUFFIXES = frozenset(
    {".safetensors", ".json", ".jinja", ".model", ".txt", ".yaml", ".gguf", ".onnx", ".py", ".so"}
    | {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
)
"""Suffixes of files that something may read: one of these that is not listed is an intruder.

Others (notes, pictures, logs) may be put beside a sealed folder's own files.
"""
_MAX_MANIFEST_BYTES = 16 << 20
_HINT = "fetch or train it again; a folder that was meant to change is sealed anew with seal()"


def seal(folder: Path) -> None:
    """Write the manifest of everything below `folder`; an older manifest is replaced."""
    entries = {name: _file_entry(folder / name) for name in _list_files(folder)}
    with whole_file(folder / MANIFEST_NAME) as f:
        f.write(json.dumps(entries, indent=1, sort_keys=True).encode())


def verify(folder: Path) -> None:
    """Compare every listed file with its size and hash. Reads all bytes, every time.

    Raises `UserError` naming the first file, by name, that is missing, cut, altered or added.
    """
    entries = _load_manifest(folder)
    for name in sorted(
        {*entries, *(n for n in _list_files(folder) if Path(n).suffix in LOADABLE_SUFFIXES)}
    ):
        path = folder / name
        if name not in entries:
            raise UserError(f"{path} was added after its folder was sealed", hint=_HINT)
        if not path.is_file():
            raise UserError(f"{path} is missing", hint=_HINT)
        size = path.stat().st_size
        if size != entries[name]["size"]:
            message = (
                f"{path} has {size:,} bytes, not the {entries[name]['size']:,} it was sealed with"
            )
            raise UserError(message, hint=_HINT)
        if sha256(path) != entries[name]["sha256"]:
            raise UserError(f"{path} was altered: its hash is not the sealed one", hint=_HINT)


def is_intact(folder: Path) -> bool:
    """Whether the folder is sealed and every file is as it was."""
    try:
        verify(folder)
    except (UserError, OSError):
        return False
    return True


@contextmanager
def atomic_directory(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `target` when the block ends well: sealed, synced, renamed.

    What stood at `target` stays until then, and stays on any error (a full disk raises `OSError`;
    the draft is removed). What a killed process left is cleared away by the next one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
        seal(draft)
        _fsync_tree(draft)
        _replace(target, draft)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def recover(target: Path) -> None:
    """Clear up after a process that was killed while it wrote `target`.

    A folder cannot replace a folder in one step; if the kill fell between, the old one comes back.
    """
    for leftover in target.parent.glob(f".{glob.escape(target.name)}.*"):
        pid, _, kind = leftover.name.removeprefix(f".{target.name}.").partition(".")
        if kind not in ("part", "old") or not pid.isdigit() or is_process_running(pid):
            continue
        if kind == "old" and not target.exists():
            leftover.rename(target)
        else:
            shutil.rmtree(leftover, ignore_errors=True)


def sha256(path: Path) -> str:
    """Hash of a file's bytes, in hex."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _list_files(folder: Path) -> list[str]:
    """Every file below the folder but the manifest, relative and with `/`, sorted."""
    files = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(n for n in files if n != MANIFEST_NAME)


def _file_entry(path: Path) -> dict[str, str | int]:
    return {"size": path.stat().st_size, "sha256": sha256(path)}


def _load_manifest(folder: Path) -> dict[str, dict[str, str | int]]:
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise UserError(f"{folder} holds no {MANIFEST_NAME}: it is not whole", hint=_HINT)
    try:
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise ValueError(f"over {_MAX_MANIFEST_BYTES:,} bytes")
        entries = json.loads(path.read_bytes())
        if not entries:
            raise ValueError("it lists nothing")
        for name, entry in entries.items():
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ValueError(f"{name!r} is outside the folder")
            if type(entry["size"]) is not int or not isinstance(entry["sha256"], str):
                raise ValueError(f"{name!r} has no size or hash")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise UserError(f"{path} cannot be read: {e}", hint=_HINT) from None
    return dict(entries)


def _replace(target: Path, draft: Path) -> None:
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    try:
        draft.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    _fsync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _fsync_tree(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        _fsync(path)


def _fsync(path: Path) -> None:
    # Windows cannot open a folder; its renames are in order without.
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
