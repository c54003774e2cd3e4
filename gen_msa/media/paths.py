"""Where a picture may lie: a relative path whose real place is below the media root.

Knows nothing of pictures or networks. A path is judged by its words first, then by where its
symbolic links lead; nothing is opened before both have passed. A hard link, or a folder exchanged
by another process in the very moment of opening, cannot be told apart from an honest file.

    data = read(inside("img/1.jpg", Path("data")), "img/1.jpg", limits.max_bytes)
"""

import os
import stat
from pathlib import Path, PureWindowsPath

from gen_msa.media._problem import PictureProblem

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def inside(path: str, root: Path) -> Path:
    """The absolute, resolved place of `path` below `root`; it need not exist yet.

    Raises `PictureProblem("outside_root")` for an absolute path, a drive or UNC name, `..`, a
    `file:` address, a NUL byte, and for a symbolic link that leads out.
    """
    reason = _suspicious(path)
    if reason:
        raise _outside(path, reason)
    base = os.path.realpath(root)
    try:
        real = os.path.realpath(os.path.join(base, path))  # noqa: PTH118  Path would drop a `.`
    except (OSError, ValueError) as e:
        raise _outside(path, f"the path cannot be resolved ({type(e).__name__})") from None
    if not Path(real).is_relative_to(base):
        raise _outside(path, "a symbolic link leads out of the media root")
    return Path(real)


def read(real: Path, path: str, most: int) -> bytes:
    """The bytes of the regular file `real`, at most `most` of them; `path` is named in errors.

    Anything but a regular file (folder, pipe, device, socket) is refused without being opened.
    """
    try:
        _refuse_special(real.lstat(), path)
        with open(os.open(real, _FLAGS), "rb") as f:  # noqa: PTH123  a descriptor, not a path
            info = os.fstat(f.fileno())
            _refuse_special(info, path)
            data = f.read(most + 1) if info.st_size <= most else None
    except (FileNotFoundError, NotADirectoryError):
        raise missing(path) from None
    except OSError as e:
        mend = "check the file's name and permissions"
        reason = f"it cannot be read: {e.strerror}"
        raise PictureProblem("unreadable", path, reason, mend) from None
    if data is None or len(data) > most:
        reason = f"the file is over the limit of {most} bytes"
        raise PictureProblem("too_large", path, reason, "shrink it, or raise max_bytes")
    return data


def missing(path: str) -> PictureProblem:
    """The problem of a file that is not there."""
    return PictureProblem(
        "missing", path, "there is no such file", "check the name and the media root"
    )


def _refuse_special(info: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(info.st_mode):
        what = "a folder" if stat.S_ISDIR(info.st_mode) else "a pipe, device, link or socket"
        raise PictureProblem("not_a_picture", path, f"it is {what}", "name a picture file")


def _suspicious(path: str) -> str:
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


def _outside(path: str, reason: str) -> PictureProblem:
    mend = "give the path relative to the media root and keep the file below it"
    return PictureProblem("outside_root", path, reason, mend)
