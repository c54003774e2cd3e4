"""Images of a report as small data URLs, each stored once; a rejected image keeps its reason.

`media` decides what may be read, and how large; every thumbnail is drawn through it.

    thumbnails = ThumbnailStore(Path("posts"))
    thumbnails.get(Media(kind="image", path="a.jpg")).url      # "data:image/jpeg;base64,…"
"""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from gen_msa.media import ImageError, ImageLimits, load_image, open_image
from gen_msa.types import Media

MAX_SIDE = 256
"""Pixels of the longer side; a card shows about 210."""

JPEG_QUALITY = 60
"""With `MAX_SIDE`, about 6 kB per image; a page of 5,000 images must still open at once."""

DrawThumbnail = Callable[[Media, Path], str]
"""Makes a data URL of a small image; raises `ImageError` when that is not possible."""

_MAX_PATH_CHARS = 200


@dataclass(frozen=True)
class MediaThumbnail:
    """What is shown for one medium."""

    kind: str
    path: str
    key: str = ""
    """Name of the image in this report; empty when there is none."""
    url: str = ""
    """The data URL; empty when the same image is on the page already, or there is none."""
    problem: str = ""
    """Why there is no image."""


class ThumbnailStore:
    """Returns the data of every image once, and refers to it afterwards.

    Args:
        root: Folder that relative media paths start from.
        draw: Makes a data URL of an image; None: `draw_thumbnail`.
    """

    def __init__(self, root: Path, draw: DrawThumbnail | None = None) -> None:
        self._root = root
        self._draw = draw or draw_thumbnail
        self._by_path: dict[bytes, MediaThumbnail] = {}
        self._keys: set[str] = set()

    def get(self, media: Media) -> MediaThumbnail:
        """Return the thumbnail of one medium; other kinds have neither image nor problem."""
        if media.kind != "image":
            return MediaThumbnail(media.kind, _shorten_path(media.path))
        # A path may be a data URL of megabytes: remembered by its hash, shown by its beginning.
        path_hash = sha256(media.path.encode()).digest()
        cached = self._by_path.get(path_hash)
        if cached is None:
            cached = self._render(media)
            # The bytes are given away once and not kept: only the key is remembered.
            self._by_path[path_hash] = replace(cached, url="")
        return cached

    def _render(self, media: Media) -> MediaThumbnail:
        path = _shorten_path(media.path)
        try:
            url = self._draw(media, self._root)
        except ImageError as e:
            return MediaThumbnail(media.kind, path, problem=f"{e.reason}; {e.hint}")
        key = "i" + sha256(url.encode()).hexdigest()[:16]
        is_new = key not in self._keys
        self._keys.add(key)
        return MediaThumbnail(media.kind, path, key=key, url=url if is_new else "")


def _shorten_path(path: str) -> str:
    return path if len(path) <= _MAX_PATH_CHARS else path[:_MAX_PATH_CHARS] + "…"


def draw_thumbnail(media: Media, root: Path) -> str:
    """Draw a JPEG of at most `MAX_SIDE` pixels per side, as a data URL.

    Args:
        media: The image.
        root: Folder that relative media paths start from.

    Returns:
        The data URL.

    Raises:
        ImageError: The image is missing, broken or rejected.
    """
    image = load_image(open_image(media, root, ImageLimits()))
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    out = BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + b64encode(out.getvalue()).decode()
