"""Read and write JSON lines in bounded memory; bad rows are rejected, files are written atomically.

A line over `MAX_LINE_BYTES` is rejected before it is parsed or held in memory.

    for row in read(Path("posts.jsonl"), Example):   # Example | Rejected
        ...
"""

import errno
import glob
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ValidationError

from gen_msa import errors
from gen_msa.errors import describe_error, write_errors
from gen_msa.types import Rejected

MAX_LINE_BYTES = 1 << 20
"""The longest line that is parsed; ten times a post of 100 kB."""

M = TypeVar("M", bound=BaseModel)


def read_lines(path: Path, limit: int = MAX_LINE_BYTES) -> Iterator[tuple[int, bytes] | Rejected]:
    """Iterate over the non-blank lines of a file; a line over the limit is `Rejected`.

    Reads at most `limit` bytes at a time, so a line of 100 MB needs no more memory than a short
    one.

    Args:
        path: File to read.
        limit: Largest line in bytes.

    Yields:
        The 1-based line number and the line without its line ending, or a `Rejected`.
    """
    with path.open("rb") as f:
        line_number = 0
        while chunk := f.readline(limit + 1):
            line_number += 1
            if len(chunk) > limit and not chunk.endswith(b"\n"):
                size = len(chunk) + _skip_line(f, limit)
                yield Rejected(
                    file=str(path),
                    line=line_number,
                    reason=f"line of {size} bytes is over the limit of {limit}",
                    hint="split the post, or keep long fields out of the row",
                    raw=chunk[:500].decode("utf-8", "replace"),
                )
            elif chunk.strip():
                yield line_number, chunk.rstrip(b"\r\n")


def _skip_line(f: IO[bytes], limit: int) -> int:
    skipped = 0
    while chunk := f.readline(limit):
        skipped += len(chunk)
        if chunk.endswith(b"\n"):
            break
    return skipped


def read(path: Path, model: type[M], limit: int = MAX_LINE_BYTES) -> Iterator[M | Rejected]:
    """Parse every line of a file as `model`; a line that fails is `Rejected` with the reason.

    Args:
        path: File of one JSON object per line.
        model: Pydantic model of a row.
        limit: Largest line in bytes.

    Yields:
        One `model` or `Rejected` per non-blank line.
    """
    for item in read_lines(path, limit):
        if isinstance(item, Rejected):
            yield item
            continue
        line_number, line = item
        try:
            check_duplicate_keys(line)
        except ValueError as e:
            yield Rejected(
                file=str(path),
                line=line_number,
                reason=str(e),
                hint=DUPLICATE_KEY_HINT,
                raw=line[:500].decode("utf-8", "replace"),
            )
            continue
        try:
            yield model.model_validate_json(line)
        except ValidationError as e:
            yield Rejected(
                file=str(path),
                line=line_number,
                reason=format_validation_error(e),
                hint=f"each line must be one JSON {model.__name__}",
                raw=line[:500].decode("utf-8", "replace"),
            )


DUPLICATE_KEY_HINT = "keep one of the two: programs disagree about which value counts"


class DuplicateKey(ValueError):
    """A JSON object or a YAML mapping has a key twice."""


def check_duplicate_keys(text: bytes | bytearray | str) -> None:
    """Refuse JSON in which an object has a key twice; all JSON of users passes here.

    Args:
        text: JSON text. What is not JSON passes: its parser says so.

    Raises:
        DuplicateKey: There is such an object; the message names the key.
    """
    try:
        # Numbers are not converted: Python refuses whole numbers of over 4,300 digits.
        json.loads(text, object_pairs_hook=_unique_pairs, parse_int=len, parse_float=len)
    except DuplicateKey:
        raise
    except (ValueError, RecursionError):
        return


def load_json(text: bytes | str) -> Any:
    """Return the value of a JSON text of the user's.

    Args:
        text: JSON text.

    Raises:
        ValueError: It is not JSON, or an object has a key twice.
    """
    return json.loads(text, object_pairs_hook=_unique_pairs)


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(k for k in keys if keys.count(k) > 1)
        raise DuplicateKey(f"the key {twice[:60]!r} occurs twice in one object")
    return members


def format_validation_error(error: ValidationError) -> str:
    """Format a validation error in one line: `post.text: Field required; …` (at most three)."""
    return describe_error(error)


@contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[bytes]]:
    """Write a file that appears under its name only when it is complete.

    On any error the partial file is removed and an existing file stays as it was. Partial files of
    killed processes are removed by the next writer.

    Args:
        path: Target file; missing parent folders are created.
        mode: Mode of `open`.

    Yields:
        The open file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if not is_process_running(stale.name.split(".")[-2]):
            stale.unlink(missing_ok=True)
    draft = _draft_of(path)
    try:
        with draft.open(mode) as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def check_writable(*files: Path) -> None:
    """Check before a long job that its outputs can be written by `atomic_write`; write nothing.

    Args:
        files: The outputs. Folders that do not exist are not created.

    Raises:
        UserError: A file cannot be written; the message names the first one.
    """
    for file in files:
        with write_errors(file):
            if file.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            _check_draft(file)


def check_folder_writable(folder: Path, *, hint: str = "") -> None:
    """Check before a long job that files can be written to a folder; write nothing.

    Args:
        folder: A folder, which need not exist.
        hint: How to fix it.

    Raises:
        UserError: It is a file, or nothing can be written there.
    """
    with write_errors(folder, "cannot be written to", hint=hint):
        _check_draft(folder / "check")


def _check_draft(file: Path) -> None:
    """Write and remove a draft of `file`, in the nearest folder that exists."""
    folder = file.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    draft = folder / _draft_of(file).name
    try:
        draft.write_bytes(bytes(4096))  # an empty file would fit on a full disk
    finally:
        draft.unlink(missing_ok=True)


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def is_process_running(pid: str) -> bool:
    """Return whether a process of this machine has the number `pid`."""
    if errors.RUNS_ON_WINDOWS:
        import ctypes

        return _is_running_on_windows(int(pid), ctypes.windll.kernel32)  # type: ignore[attr-defined]
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


_QUERY_LIMITED_INFORMATION = 0x1000
_ACCESS_DENIED = 5
_WAIT_TIMEOUT = 0x102
_SYNCHRONIZE = 0x100000


def _is_running_on_windows(pid: int, kernel32: Any) -> bool:
    """Ask Windows for a process: signal 0, harmless elsewhere, would interrupt it there."""
    handle = kernel32.OpenProcess(_QUERY_LIMITED_INFORMATION | _SYNCHRONIZE, False, pid)
    if not handle:
        return bool(kernel32.GetLastError() == _ACCESS_DENIED)
    try:
        return bool(kernel32.WaitForSingleObject(handle, 0) == _WAIT_TIMEOUT)
    finally:
        kernel32.CloseHandle(handle)
