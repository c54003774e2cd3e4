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

from gen_msa.media import PictureLimits, PictureProblem, admit, load
from gen_msa.types import Media

SIDE = 256
"""Pixels of the longer side; a card shows about 210."""

QUALITY = 60
"""JPEG quality: with `SIDE`, about 6 kB a picture; a page of 5,000 must still open at once."""

Draw = Callable[[Media, Path], str]
"""A small picture as a data URL; raises `PictureProblem` when there is none to be had."""

_PATH_SHOWN = 200


@dataclass(frozen=True)
class Frame:
    """What stands in the place of one medium."""

    kind: str
    path: str
    key: str = ""
    """Name of the picture in this report; empty when there is none to show."""
    url: str = ""
    """The data URL; empty when the same picture was given before, or there is none."""
    problem: str = ""
    """Why there is no picture."""


class Album:
    """Hands out every picture once and refers to it afterwards."""

    def __init__(self, root: Path, draw: Draw | None = None) -> None:
        self._root = root
        self._draw = draw or thumbnail
        self._by_path: dict[bytes, Frame] = {}
        self._keys: set[str] = set()

    def frame(self, media: Media) -> Frame:
        """The frame for one medium; sound, film and features have neither picture nor problem."""
        if media.kind != "image":
            return Frame(media.kind, _short(media.path))
        # A path may be a data URL of megabytes: remembered by its hash, shown by its beginning.
        place = sha256(media.path.encode()).digest()
        known = self._by_path.get(place)
        if known is None:
            known = self._developed(media)
            # The bytes are given away once and not kept: only the key is remembered.
            self._by_path[place] = replace(known, url="")
        return known

    def _developed(self, media: Media) -> Frame:
        path = _short(media.path)
        try:
            url = self._draw(media, self._root)
        except PictureProblem as e:
            return Frame(media.kind, path, problem=f"{e.reason}; {e.mend}")
        key = "i" + sha256(url.encode()).hexdigest()[:16]
        first = key not in self._keys
        self._keys.add(key)
        return Frame(media.kind, path, key=key, url=url if first else "")


def _short(path: str) -> str:
    return path if len(path) <= _PATH_SHOWN else path[:_PATH_SHOWN] + "…"


def thumbnail(media: Media, root: Path) -> str:
    """A JPEG of at most `SIDE` pixels, drawn from a picture that `media` has admitted."""
    picture = load(admit(media, root, PictureLimits()))
    picture.thumbnail((SIDE, SIDE))
    out = BytesIO()
    picture.save(out, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + b64encode(out.getvalue()).decode()
