"""Pictures of a report as small data URLs, each stored once; a refused one keeps its reason.

Knows nothing of HTML. What may be read, and how large, is for `media` to say: whoever draws a
thumbnail goes through it.

    album = Album(Path("posts"))
    album.frame(Media(kind="image", path="a.jpg")).url      # "data:image/jpeg;base64,…"
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
"""JPEG quality: with `SIDE`, about 6 kB a picture; a page of 5,000 must still open at once."""

DrawThumbnail = Callable[[Media, Path], str]
"""A small picture as a data URL; raises `PictureProblem` when there is none to be had."""

_MAX_PATH_CHARS = 200


@dataclass(frozen=True)
class MediaThumbnail:
    """What stands in the place of one medium."""

    kind: str
    path: str
    key: str = ""
    """Name of the picture in this report; empty when there is none to show."""
    url: str = ""
    """The data URL; empty when the same picture was given before, or there is none."""
    problem: str = ""
    """Why there is no picture."""


class ThumbnailStore:
    """Hands out every picture once and refers to it afterwards."""

    def __init__(self, root: Path, draw: DrawThumbnail | None = None) -> None:
        self._root = root
        self._draw = draw or draw_thumbnail
        self._by_path: dict[bytes, MediaThumbnail] = {}
        self._keys: set[str] = set()

    def get(self, media: Media) -> MediaThumbnail:
        """The frame for one medium; sound, film and features have neither picture nor problem."""
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
    """A JPEG of at most `SIDE` pixels, drawn from a picture that `media` has admitted."""
    image = load_image(open_image(media, root, ImageLimits()))
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    out = BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + b64encode(out.getvalue()).decode()
