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
from gen_msa.media import ImageLimits, ImageError
from gen_msa.types import Media

if TYPE_CHECKING:
    from PIL import Image

_LIMITS = ImageLimits(max_pixels=96 * 96)
_THUMBNAIL_SIDE = 8
_MIN_CONTRAST = 6.0
"""Standard deviation of the hashed brightness, 0..127, below which signs are noise."""
MAX_DIFFERENCE = 0.2
"""Mean difference of two small copies, as a share of the lesser one's contrast, up to which they
are one picture. Pictures saved again, at half the size or quality 40, stayed below 0.11; different
ones with like hashes began at 0.31."""
_BLOCK_SIZE = 1 << 22


@dataclass(frozen=True)
class ImageFingerprint:
    """What a picture is known by."""

    sha256: str
    """Of the file's bytes; empty when they are not to be had."""
    name: str
    """Path or address as the post gives it, casefolded: all there is without bytes."""
    dhash: int | None = None
    """dHash, 64 bits; None without bytes, without contrast, or when not asked for."""
    thumbnail: bytes = b""
    """8 x 8 RGB pixels, where there is a look."""


def fingerprint_image(source: Media, root: Path, *, with_hash: bool = True) -> ImageFingerprint:
    """The print of one picture; `look=False` reads bytes but decodes nothing.

    A file that cannot be read or decoded is known by less, never an error.
    """
    name = source.path.replace("\\", "/").removeprefix("./").casefold()
    digest = media.digest(source, root, _LIMITS)
    if ":" in digest:  # a problem, or an address: no bytes
        return ImageFingerprint("", name)
    if not with_hash:
        return ImageFingerprint(digest, name)
    try:
        image = media.load_image(media.open_image(source, root, _LIMITS))
    except ImageError:
        return ImageFingerprint(digest, name)
    return ImageFingerprint(digest, name, *_difference_hash(image))


def _difference_hash(image: "Image.Image") -> "tuple[int | None, bytes]":
    from PIL.Image import Resampling

    grey = np.asarray(image.convert("L").resize((9, 8), Resampling.BOX), dtype=np.int16)
    if grey.std() < _MIN_CONTRAST:
        return None, b""
    signs = np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes()
    thumbnail = image.resize((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Resampling.BOX)
    return int.from_bytes(signs, "big"), thumbnail.tobytes()


def nearest_images(
    earlier: Sequence[ImageFingerprint], later: Sequence[ImageFingerprint], max_bits: int
) -> list[tuple[int, int, int]]:
    """(place in `right`, place in `left`, bits apart) of pictures that look alike.

    Each of `right` at most once, with the nearest of `left`; equal bytes are passed over. Every
    pair is compared, 64 bits at a time: 20,000 by 20,000 take a few seconds.
    """
    a = [i for i, p in enumerate(earlier) if p.dhash is not None]
    b = [j for j, p in enumerate(later) if p.dhash is not None]
    if not a or not b:
        return []
    hashes_a = np.array([earlier[i].dhash for i in a], dtype=np.uint64)
    hashes_b = np.array([later[j].dhash for j in b], dtype=np.uint64)
    best: dict[int, tuple[int, int]] = {}
    rows = max(1, _BLOCK_SIZE // len(a))
    for start in range(0, len(b), rows):
        distances = np.bitwise_count(hashes_b[start : start + rows, None] ^ hashes_a[None, :])
        for row, column in np.argwhere(distances <= max_bits).tolist():
            i, j = a[column], b[start + row]
            if earlier[i].sha256 != later[j].sha256 and is_same_image(earlier[i], later[j]):
                candidate = (int(distances[row, column]), i)
                best[j] = min(best.get(j, candidate), candidate)
    return [(j, i, bits) for j, (bits, i) in sorted(best.items())]


def is_same_image(a: ImageFingerprint, b: ImageFingerprint) -> bool:
    """Whether the small copies of two pictures agree."""
    x, y = (np.frombuffer(p.thumbnail, np.uint8).astype(float).reshape(-1, 3) for p in (a, b))
    contrast = min(float(np.abs(z - z.mean(axis=0)).mean()) for z in (x, y))
    return float(np.abs(x - y).mean()) <= MAX_DIFFERENCE * contrast
