"""Where a picture may lie: a relative path whose real place is below the media root.

Knows nothing of pictures or networks. A path is judged by its words first, then by where its
symbolic links lead; nothing is opened before both have passed. A hard link, or a folder exchanged
by another process in the very moment of opening, cannot be told apart from an honest file.

    data = read(inside("img/1.jpg", Path("data")), "img/1.jpg", limits.max_bytes)
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
    """The absolute, resolved place of `path` below `root`; it need not exist yet.

    Raises `PictureProblem("outside_root")` for an absolute path, a drive or UNC name, `..`, a
    `file:` address, a NUL byte, and for a symbolic link that leads out.
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
    """The bytes of the regular file `real`, at most `most` of them; `path` is named in errors.

    Anything but a regular file (folder, pipe, device, socket) is refused without being opened.
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
    """The problem of a file that is not there."""
    return ImageError("missing", path, "there is no such file", "check the name and the media root")


def _refuse_special(info: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(info.st_mode):
        description = "a folder" if stat.S_ISDIR(info.st_mode) else "a pipe, device, link or socket"
        raise ImageError("not_an_image", path, f"it is {description}", "name a picture file")


def _path_problem(path: str) -> str:
    """Why the words of a path are refused on every system; `""` when they are not."""
    windows = PureWindowsPath(path)  # knows /, \, drives and UNC names; so no system is a way round
    if "\0" in path:
        return "the path holds a NUL byte"
    if path.lstrip().lower().startswith("file:"):
        return "file: addresses are not read"
    if windows.drive or windows.root:
        return "the path is absolute"
    if ".." in windows.parts:
        return "the path holds '..'"
    return ""


def _outside_root(path: str, reason: str) -> ImageError:
    hint = "give the path relative to the media root and keep the file below it"
    return ImageError("outside_root", path, reason, hint)
