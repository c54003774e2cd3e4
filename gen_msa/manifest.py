"""Folders that appear complete or not at all, with a hash of every file.

`MANIFEST.json` lists the size and SHA-256 of every file below a folder and is written last.

    with atomic_directory(Path("adapters/mabsa")) as draft:
        (draft / "metrics.json").write_text("{}")
    verify(Path("adapters/mabsa"))       # UserError naming the first file that has changed
"""

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from gen_msa import errors
from gen_msa.errors import UserError, user_errors
from gen_msa.jsonl import atomic_write, is_process_running

MANIFEST_NAME = "MANIFEST.json"
LOADABLE_SUFFIXES = frozenset(
    {".safetensors", ".json", ".jinja", ".model", ".txt", ".yaml", ".gguf", ".onnx", ".py", ".so"}
    | {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
)
"""Suffixes of files that something may load; an unlisted file with one of these is an error.

Others (notes, images, logs) may be added to a sealed folder.
"""
_MAX_MANIFEST_BYTES = 16 << 20
_HINT = "download or train it again; seal a folder that was changed on purpose again with seal()"


def seal(folder: Path) -> None:
    """Write the manifest of everything below `folder`, replacing an older one."""
    entries = {name: _file_entry(folder / name) for name in _list_files(folder)}
    with atomic_write(folder / MANIFEST_NAME) as f:
        f.write(json.dumps(entries, indent=1, sort_keys=True).encode())


def verify(folder: Path) -> None:
    """Compare every listed file with its size and hash. Reads all bytes on every call.

    Raises:
        UserError: A file is missing, truncated, altered or was added; the message names the first
            one.
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
                f"{path} has {size:,} bytes, not the {entries[name]['size']:,} of its manifest"
            )
            raise UserError(message, hint=_HINT)
        if sha256(path) != entries[name]["sha256"]:
            raise UserError(f"{path} was altered: its hash is not that of its manifest", hint=_HINT)


def is_intact(folder: Path) -> bool:
    """Return whether the folder has a manifest and every file matches it."""
    try:
        verify(folder)
    except (UserError, OSError):
        return False
    return True


def digest(folder: Path) -> str:
    """Return the SHA-256, in hex, over names and bytes of every file below `folder`, manifest too.

    Raises:
        OSError: A file cannot be read.
    """
    hasher = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        hasher.update(f"{path.relative_to(folder).as_posix()}\0{sha256(path)}\n".encode())
    return hasher.hexdigest()


@contextmanager
def atomic_directory(target: Path) -> Iterator[Path]:
    """Create a folder that becomes `target` when the block ends well: sealed, synced, renamed.

    An existing `target` stays until then, and stays after any error (a full disk raises `OSError`;
    the draft is removed). Drafts of killed processes are removed by the next call.

    Args:
        target: Folder to create or replace.

    Yields:
        The draft folder to fill.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
        _apply_umask(draft)
        seal(draft)
        _fsync_tree(draft)
        _replace(target, draft)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _apply_umask(folder: Path) -> None:
    """Give every file the mode of a new file; safetensors makes weights readable to the owner."""
    mode = folder.stat().st_mode & 0o666  # a new folder has all that the umask allows
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode | mode)


def recover(target: Path) -> None:
    """Clean up after a process that was killed while it wrote `target`.

    A folder cannot replace a folder in one step; if the process was killed between the two renames,
    the old folder is restored.
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
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def content_digest(path: Path) -> str:
    """Return a digest of what a path leads to, whatever it is called and wherever it lies.

    Args:
        path: A file; or a folder, of which every file counts with its name.

    Returns:
        A SHA-256 in hex; `missing` for what is neither.
    """
    if path.is_file():
        return sha256(path)
    if not path.is_dir():
        return "missing"
    entries = [f"{name}\0{sha256(path / name)}\n" for name in _list_files(path)]
    return hashlib.sha256("".join(entries).encode()).hexdigest()


def _list_files(folder: Path) -> list[str]:
    """Return every file below the folder except the manifest, relative and with `/`, sorted."""
    files = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(n for n in files if n != MANIFEST_NAME)


def _file_entry(path: Path) -> dict[str, str | int]:
    return {"size": path.stat().st_size, "sha256": sha256(path)}


def _load_manifest(folder: Path) -> dict[str, dict[str, str | int]]:
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise UserError(f"{folder} has no {MANIFEST_NAME}: it is incomplete", hint=_HINT)
    with user_errors(path, hint=_HINT):
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
    # Windows cannot open a folder, and its renames need no sync.
    if path.is_dir() and errors.RUNS_ON_WINDOWS:
        return
    # Windows writes a file back through a handle that may write only.
    handle = os.open(path, os.O_RDWR if errors.RUNS_ON_WINDOWS else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
