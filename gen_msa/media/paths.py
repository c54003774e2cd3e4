"""Resolve image paths: relative paths whose real location is below the media root.

A path is checked by its text first, then by where its symbolic links lead; no file is opened before
both checks pass. A hard link, or a folder exchanged by another process at the very moment of
opening, cannot be detected.

    data = read_file(resolve_inside("img/1.jpg", Path("data")), "img/1.jpg", limits.max_bytes)
"""

import os
import stat
from pathlib import Path, PureWindowsPath

from gen_msa.media.errors import ImageError

_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def resolve_inside(path: str, root: Path) -> Path:
    """Return the absolute, resolved location of `path` below `root`; it need not exist yet.

    Args:
        path: Path as the post gives it.
        root: Media root.

    Raises:
        ImageError: The path is absolute, a drive or UNC name, a `file:` URL, contains `..` or a NUL
            byte, or a symbolic link leads out of `root` (`outside_root`).
    """
    reason = _path_problem(path)
    if reason:
        raise _outside_root(path, reason)
    base = os.path.realpath(root)
    try:
        resolved = os.path.realpath(os.path.join(base, path))  # noqa: PTH118  Path would drop a `.`
    except (OSError, ValueError) as e:
        raise _outside_root(path, f"the path cannot be resolved ({type(e).__name__})") from None
    if not Path(resolved).is_relative_to(base):
        raise _outside_root(path, "a symbolic link leads out of the media root")
    return Path(resolved)


def read_file(resolved: Path, path: str, max_bytes: int) -> bytes:
    """Read a regular file.

    Anything but a regular file (folder, pipe, device, socket) is rejected without being opened.

    Args:
        resolved: Location as `resolve_inside` returns it.
        path: Path for error messages.
        max_bytes: Largest file.

    Returns:
        The whole content, at most `max_bytes` bytes.

    Raises:
        ImageError: `missing`, `unreadable`, `not_an_image` (not a regular file) or `too_large`.
    """
    try:
        _refuse_special(resolved.lstat(), path)
        with open(os.open(resolved, _OPEN_FLAGS), "rb") as f:  # noqa: PTH123  a descriptor, not a path
            info = os.fstat(f.fileno())
            _refuse_special(info, path)
            data = f.read(max_bytes + 1) if info.st_size <= max_bytes else None
    except (FileNotFoundError, NotADirectoryError):
        raise missing_file_error(path) from None
    except OSError as e:
        hint = "check the file's name and permissions"
        reason = f"it cannot be read: {e.strerror}"
        raise ImageError("unreadable", path, reason, hint) from None
    if data is None or len(data) > max_bytes:
        reason = f"the file is over the limit of {max_bytes} bytes"
        raise ImageError("too_large", path, reason, "shrink it, or raise max_bytes")
    return data


def missing_file_error(path: str) -> ImageError:
    """Return the error of a file that does not exist."""
    return ImageError("missing", path, "there is no such file", "check the name and the media root")


def _refuse_special(info: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(info.st_mode):
        description = "a folder" if stat.S_ISDIR(info.st_mode) else "a pipe, device, link or socket"
        raise ImageError("not_an_image", path, f"it is {description}", "name an image file")


def _path_problem(path: str) -> str:
    """Return why the text of a path is rejected on every system; `""` when it is not."""
    windows = PureWindowsPath(path)  # rejects Windows paths on every system
    if "\0" in path:
        return "the path holds a NUL byte"
    if path.lstrip().lower().startswith("file:"):
        return "file: URLs are not read"
    if windows.drive or windows.root:
        return "the path is absolute"
    if ".." in windows.parts:
        return "the path holds '..'"
    return ""


def _outside_root(path: str, reason: str) -> ImageError:
    hint = "give the path relative to the media root and keep the file below it"
    return ImageError("outside_root", path, reason, hint)
