"""Limits of images, and the error that says why an image was rejected.

raise ImageError("missing", "a.jpg", "there is no such file", "check the media root")
"""

from typing import Literal

from pydantic import Field

from gen_msa.settings import Settings

MAX_FILE_BYTES = 256 << 20
"""No setting may let a larger file be held in memory."""

ErrorKind = Literal[
    "missing",
    "outside_root",
    "unreadable",
    "not_an_image",
    "corrupt",
    "too_large",
    "too_small",
    "url_refused",
    "unsupported",
]

_MAX_PATH_CHARS = 120


class ImageLimits(Settings):
    """What an image may be before it is decoded, and its size afterwards."""

    max_bytes: int = Field(default=32 << 20, gt=0, le=MAX_FILE_BYTES)
    """Bytes of the file."""
    max_source_pixels: int = Field(default=40_000_000, gt=0, le=80_000_000)
    """Width x height in the file; read from the header, so a bomb is never decoded.

    Decoding takes about 5 bytes per pixel (WebP: 15): 200 MB (600 MB) at the default.
    """
    min_side: int = Field(default=8, gt=0)
    """Pixels of the shorter side. Some engines crash on a 1x1 image."""
    max_ratio: float = Field(default=50.0, ge=1.0)
    """Longer side / shorter side."""
    max_pixels: int = Field(default=200_704, gt=0)
    """Width x height after resizing (448 x 448): aspect ratio kept, never enlarged."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts (`example.org`, `example.org:8080`) images may be fetched from; none by default."""


class ImageError(Exception):
    """An image that is rejected: kind of problem, path as the post gave it, reason and hint."""

    def __init__(self, kind: ErrorKind, path: str, reason: str, hint: str) -> None:
        """Describe the problem.

        Args:
            kind: Kind of problem, stable for programs.
            path: Path as the post gave it.
            reason: What is wrong.
            hint: How to fix it.
        """
        super().__init__(kind, path, reason, hint)
        self.kind = kind
        self.path = path
        self.reason = reason
        self.hint = hint

    def __str__(self) -> str:
        return f"{printable_path(self.path)}: {self.reason} ({self.kind}); hint: {self.hint}"


def printable_path(path: str) -> str:
    """Return a path fit for one line: control characters escaped, long data URLs cut."""
    cut = path if len(path) <= _MAX_PATH_CHARS else f"{path[:_MAX_PATH_CHARS]}…"
    return cut if cut.isprintable() else ascii(cut)
