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
from gen_msa.jsonl import is_running
from gen_msa.jsonl import whole as whole_file

NAME = "MANIFEST.json"
READ = frozenset(
    {".safetensors", ".json", ".jinja", ".model", ".txt", ".yaml", ".gguf", ".onnx", ".py", ".so"}
    | {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
)
"""Suffixes of files that something may read: one of these that is not listed is an intruder.

Others (notes, pictures, logs) may be put beside a sealed folder's own files.
"""
_MOST_BYTES = 16 << 20
_MEND = "fetch or train it again; a folder that was meant to change is sealed anew with seal()"


def seal(folder: Path) -> None:
    """Write the manifest of everything below `folder`; an older manifest is replaced."""
    found = {name: _facts(folder / name) for name in _names(folder)}
    with whole_file(folder / NAME) as f:
        f.write(json.dumps(found, indent=1, sort_keys=True).encode())


def check(folder: Path) -> None:
    """Compare every listed file with its size and hash. Reads all bytes, every time.

    Raises `UserError` naming the first file, by name, that is missing, cut, altered or added.
    """
    listed = _listed(folder)
    for name in sorted({*listed, *(n for n in _names(folder) if Path(n).suffix in READ)}):
        path = folder / name
        if name not in listed:
            raise UserError(f"{path} was added after its folder was sealed", mend=_MEND)
        if not path.is_file():
            raise UserError(f"{path} is missing", mend=_MEND)
        size = path.stat().st_size
        if size != listed[name]["size"]:
            said = f"{path} has {size:,} bytes, not the {listed[name]['size']:,} it was sealed with"
            raise UserError(said, mend=_MEND)
        if sha256(path) != listed[name]["sha256"]:
            raise UserError(f"{path} was altered: its hash is not the sealed one", mend=_MEND)


def whole(folder: Path) -> bool:
    """Whether the folder is sealed and every file is as it was."""
    try:
        check(folder)
    except (UserError, OSError):
        return False
    return True


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `target` when the block ends well: sealed, synced, renamed.

    What stood at `target` stays until then, and stays on any error (a full disk raises `OSError`;
    the draft is removed). What a killed process left is cleared away by the next one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    restore(target)
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
        seal(draft)
        _sync(draft)
        _replace(target, draft)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def restore(target: Path) -> None:
    """Clear up after a process that was killed while it wrote `target`.

    A folder cannot replace a folder in one step; if the kill fell between, the old one comes back.
    """
    for left in target.parent.glob(f".{glob.escape(target.name)}.*"):
        pid, _, kind = left.name.removeprefix(f".{target.name}.").partition(".")
        if kind not in ("part", "old") or not pid.isdigit() or is_running(pid):
            continue
        if kind == "old" and not target.exists():
            left.rename(target)
        else:
            shutil.rmtree(left, ignore_errors=True)


def sha256(path: Path) -> str:
    """Hash of a file's bytes, in hex."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _names(folder: Path) -> list[str]:
    """Every file below the folder but the manifest, relative and with `/`, sorted."""
    found = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(n for n in found if n != NAME)


def _facts(path: Path) -> dict[str, str | int]:
    return {"size": path.stat().st_size, "sha256": sha256(path)}


def _listed(folder: Path) -> dict[str, dict[str, str | int]]:
    path = folder / NAME
    if not path.is_file():
        raise UserError(f"{folder} holds no {NAME}: it is not whole", mend=_MEND)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"over {_MOST_BYTES:,} bytes")
        found = json.loads(path.read_bytes())
        if not found:
            raise ValueError("it lists nothing")
        for name, facts in found.items():
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ValueError(f"{name!r} is outside the folder")
            if type(facts["size"]) is not int or not isinstance(facts["sha256"], str):
                raise ValueError(f"{name!r} has no size or hash")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise UserError(f"{path} cannot be read: {e}", mend=_MEND) from None
    return dict(found)


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
    _sync_one(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        _sync_one(path)


def _sync_one(path: Path) -> None:
    # Windows cannot open a folder; its renames are in order without.
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
