"""Near duplicates: texts and images that are the same, or nearly the same.

Similar texts are found exactly, not by chance as with MinHash: two sets whose Jaccard index is at
least t share one of their rarest items (prefix filtering, Bayardo, Ma and Srikant, WWW 2007), so
only texts that share a rare trigram are compared. Similar images have similar difference hashes.

    normalize("@ann Great PHONE  https://x.co/1")           # "@user great phone url"
    index = ShingleIndex([shingles(normalize(t)) for t in train], 0.5)
    index.nearest(shingles(normalize("...")))               # NearestText(3, 0.71, 1)
"""

import html
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gen_msa import media
from gen_msa.media import ImageError, ImageLimits
from gen_msa.types import Media

if TYPE_CHECKING:
    from PIL import Image

_LIMITS = ImageLimits(max_pixels=96 * 96)
_THUMBNAIL_SIDE = 8
_MIN_CONTRAST = 6.0
"""Standard deviation of the hashed brightness (0..127) below which the signs are noise."""
MAX_DIFFERENCE = 0.2
"""Mean difference of two thumbnails, as a share of the lower contrast of the two, up to which they
show one image. Images saved again, at half the size or quality 40, stayed below 0.11; different
images with similar hashes started at 0.31."""
_BLOCK_SIZE = 1 << 22


@dataclass(frozen=True)
class ImageFingerprint:
    """What identifies an image."""

    sha256: str
    """Hash of the bytes of the file; empty when they are not available."""
    name: str
    """Path or URL as the post gives it, casefolded: the only key without bytes."""
    dhash: int | None = None
    """64-bit difference hash; None without bytes or contrast, or when not requested."""
    thumbnail: bytes = b""
    """8 x 8 RGB pixels, where there is a hash."""


def fingerprint_image(source: Media, root: Path, *, with_hash: bool = True) -> ImageFingerprint:
    """Compute the fingerprint of one image.

    A file that cannot be read or decoded has an incomplete fingerprint; it is never an error.

    Args:
        source: The image.
        root: Folder that relative paths start from.
        with_hash: Whether to decode the image for its difference hash.

    Returns:
        The fingerprint.
    """
    name = source.path.replace("\\", "/").removeprefix("./").casefold()
    digest = media.digest(source, root, _LIMITS)
    if ":" in digest:  # an error or a URL: there are no bytes
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
    """Find images of `later` that look like one of `earlier`.

    All pairs are compared, 64 bits at a time: 20,000 by 20,000 take a few seconds. Images with
    equal bytes are skipped.

    Args:
        earlier: Fingerprints to search in.
        later: Fingerprints to look up.
        max_bits: Maximum number of differing bits of the difference hashes.

    Returns:
        (index in `later`, index in `earlier`, differing bits), each of `later` at most once, with
            the nearest of `earlier`.
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
    """Compare the thumbnails of two images.

    Args:
        a: Fingerprint with a thumbnail.
        b: Fingerprint with a thumbnail.

    Returns:
        Whether the mean difference is at most `MAX_DIFFERENCE` of the lower contrast.
    """
    x, y = (np.frombuffer(p.thumbnail, np.uint8).astype(float).reshape(-1, 3) for p in (a, b))
    contrast = min(float(np.abs(z - z.mean(axis=0)).mean()) for z in (x, y))
    return float(np.abs(x - y).mean()) <= MAX_DIFFERENCE * contrast


NORMALIZATION = (
    "HTML entities resolved, NFKC, casefolded, format characters dropped, URLs are `url`, "
    "@mentions (`@ name` too) `@user`, a masked target ($T$) `$t$`, runs of white space one blank"
)
"""What `normalize` does, for reports."""

MIN_WORDS = 6
"""Words of its own that a text must have to be compared for similarity."""

_URL = re.compile(r"(?:https?://|www\.)\S+", re.I)
_MENTION = re.compile(r"@ ?\w+")
_WORD = re.compile(r"\w+|\$t\$")
_PLACEHOLDERS = frozenset({"url", "user", "rt"})

Shingles = frozenset[tuple[str, ...]]


class NearestText(NamedTuple):
    """The nearest text of an index."""

    position: int
    """Its position in the index; the first among equals."""
    jaccard: float
    n_similar: int
    """Number of texts that reach the threshold."""


def normalize(text: str) -> str:
    """Normalize a text so that copies of it are equal; see `NORMALIZATION`."""
    normalized = unicodedata.normalize("NFKC", html.unescape(text)).casefold()
    normalized = "".join(c for c in normalized if unicodedata.category(c) != "Cf")
    return " ".join(_MENTION.sub("@user", _URL.sub("url", normalized)).split())


def has_words(text: str) -> bool:
    """Return whether a normalized text has words besides mentions and URLs."""
    return any(w not in _PLACEHOLDERS and w != "$t$" for w in _WORD.findall(text))


def shingles(text: str, n: int = 3) -> Shingles:
    """Return the runs of `n` words, without punctuation, mentions and URLs.

    A text with fewer than `MIN_WORDS` words has none: a stock phrase is not a copy.

    Args:
        text: The normalized text.
        n: Words per shingle.
    """
    words = [w for w in _WORD.findall(text) if w not in _PLACEHOLDERS]
    if len(words) < MIN_WORDS:
        return frozenset()
    return frozenset(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def jaccard(a: Shingles, b: Shingles) -> float:
    """Compute the Jaccard index of two sets.

    Args:
        a: The first set.
        b: The second set.

    Returns:
        Size of the intersection over size of the union, 0..1; 0 for two empty sets.
    """
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared) if shared else 0.0


class ShingleIndex:
    """An index of shingle sets that finds the set nearest to a query.

    Time is linear in the number of texts as long as their rarest trigrams are rare. The answer
    equals that of an exhaustive comparison.

    Args:
        sets: The shingles of each text.
        threshold: Minimum Jaccard index, in (0, 1].
    """

    def __init__(self, sets: Sequence[Shingles], threshold: float) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"the threshold must be in 0..1, not {threshold}")
        self._sets = sets
        self._threshold = threshold
        self._frequency = Counter(s for shingle_set in sets for s in shingle_set)
        self._postings: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for position, shingle_set in enumerate(sets):
            for s in self._prefix(shingle_set):
                self._postings[s].append(position)

    def nearest(self, query: Shingles, excluded: Iterable[int] = ()) -> NearestText | None:
        """Return the nearest set that reaches the threshold, else None.

        Args:
            query: The shingles to look up.
            excluded: Positions to ignore.
        """
        candidates = {
            position for s in self._prefix(query) for position in self._postings.get(s, ())
        }
        candidates -= set(excluded)
        scored = [
            (-j, position)
            for position in candidates
            if (j := self._similarity(query, position)) >= self._threshold
        ]
        if not scored:
            return None
        best, position = min(scored)
        return NearestText(position, -best, len(scored))

    def _similarity(self, query: Shingles, position: int) -> float:
        other = self._sets[position]
        short, long = sorted((len(query), len(other)))
        return 0.0 if short < self._threshold * long else jaccard(query, other)

    def _prefix(self, shingle_set: Shingles) -> list[tuple[str, ...]]:
        """Return the rarest items: enough that two similar sets share one of them.

        The epsilon keeps a product such as 0.7 * 10, slightly above 7, from being rounded up.
        """
        prefix_length = len(shingle_set) - ceil(self._threshold * len(shingle_set) - 1e-9) + 1
        return (
            sorted(shingle_set, key=lambda s: (self._frequency[s], s))[:prefix_length]
            if shingle_set
            else []
        )
