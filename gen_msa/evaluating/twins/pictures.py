"""Pictures that are the same by their bytes, or nearly the same by how they look.

The look is a difference hash (dHash): 8 x 8 signs of whether brightness grows from left to right,
so that size, quality and file format do not matter; a crop or a mirror image does. What it finds
is confirmed on small copies in colour, for two things on white have much the same signs. A picture
without contrast has no look. Knows nothing of posts or splits; every picture comes in through
`media`.

    print_of(Media(kind="image", path="a.jpg"), Path("photos"))
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gen_msa import media
from gen_msa.media import PictureLimits, PictureProblem
from gen_msa.types import Media

if TYPE_CHECKING:
    from PIL import Image

_LIMITS = PictureLimits(max_pixels=96 * 96)
_THUMB = 8
_LEAST_CONTRAST = 6.0
"""Standard deviation of the hashed brightness, 0..127, below which signs are noise."""
MOST_APART = 0.2
"""Mean difference of two small copies, as a share of the lesser one's contrast, up to which they
are one picture. Pictures saved again, at half the size or quality 40, stayed below 0.11; different
ones with like hashes began at 0.31."""
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Print:
    """What a picture is known by."""

    sha256: str
    """Of the file's bytes; empty when they are not to be had."""
    name: str
    """Path or address as the post gives it, casefolded: all there is without bytes."""
    look: int | None = None
    """dHash, 64 bits; None without bytes, without contrast, or when not asked for."""
    small: bytes = b""
    """8 x 8 RGB pixels, where there is a look."""


def print_of(picture: Media, root: Path, *, look: bool = True) -> Print:
    """The print of one picture; `look=False` reads bytes but decodes nothing.

    A file that cannot be read or decoded is known by less, never an error.
    """
    name = picture.path.replace("\\", "/").removeprefix("./").casefold()
    known = media.digest(picture, root, _LIMITS)
    if ":" in known:  # a problem, or an address: no bytes
        return Print("", name)
    if not look:
        return Print(known, name)
    try:
        image = media.load(media.admit(picture, root, _LIMITS))
    except PictureProblem:
        return Print(known, name)
    return Print(known, name, *_look(image))


def _look(image: "Image.Image") -> "tuple[int | None, bytes]":
    from PIL.Image import Resampling

    grey = np.asarray(image.convert("L").resize((9, 8), Resampling.BOX), dtype=np.int16)
    if grey.std() < _LEAST_CONTRAST:
        return None, b""
    signs = np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes()
    small = image.resize((_THUMB, _THUMB), Resampling.BOX)
    return int.from_bytes(signs, "big"), small.tobytes()


def nearest(
    left: Sequence[Print], right: Sequence[Print], most_bits: int
) -> list[tuple[int, int, int]]:
    """(place in `right`, place in `left`, bits apart) of pictures that look alike.

    Each of `right` at most once, with the nearest of `left`; equal bytes are passed over. Every
    pair is compared, 64 bits at a time: 20,000 by 20,000 take a few seconds.
    """
    a = [i for i, p in enumerate(left) if p.look is not None]
    b = [j for j, p in enumerate(right) if p.look is not None]
    if not a or not b:
        return []
    looks_a = np.array([left[i].look for i in a], dtype=np.uint64)
    looks_b = np.array([right[j].look for j in b], dtype=np.uint64)
    best: dict[int, tuple[int, int]] = {}
    rows = max(1, _BLOCK // len(a))
    for start in range(0, len(b), rows):
        apart = np.bitwise_count(looks_b[start : start + rows, None] ^ looks_a[None, :])
        for row, column in np.argwhere(apart <= most_bits).tolist():
            i, j = a[column], b[start + row]
            if left[i].sha256 != right[j].sha256 and alike(left[i], right[j]):
                found = (int(apart[row, column]), i)
                best[j] = min(best.get(j, found), found)
    return [(j, i, bits) for j, (bits, i) in sorted(best.items())]


def alike(a: Print, b: Print) -> bool:
    """Whether the small copies of two pictures agree."""
    x, y = (np.frombuffer(p.small, np.uint8).astype(float).reshape(-1, 3) for p in (a, b))
    contrast = min(float(np.abs(z - z.mean(axis=0)).mean()) for z in (x, y))
    return float(np.abs(x - y).mean()) <= MOST_APART * contrast
