"""The gate: a post's `Media` becomes an admitted `Picture`, and that becomes pixels.

Knows nothing of posts, prompts or models. A picture is decoded once: a bounded cache in this
process keeps it, keyed by the hash of the file's bytes and the budget, never by path.

    picture = admit(Media(kind="image", path="img/1.jpg"), Path("data"), PictureLimits())
    load(picture).size
"""

import base64
import hashlib
import io
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from gen_msa.chat import Picture
from gen_msa.jsonl import whole
from gen_msa.media import fetch, paths
from gen_msa.media._problem import MOST_BYTES, PictureLimits, PictureProblem
from gen_msa.types import Media

if TYPE_CHECKING:
    from PIL import Image

    from gen_msa.media.pictures import Decoded

FETCHED = ".fetched"
"""Folder below the media root for pictures that came by URL, each named by its URL's SHA-256."""

_JPEG_QUALITY = 90
_MOST_ROOM = 1 << 30


class _Cache:
    """Decoded pictures, the longest unused thrown out once they take more than `room` bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.hits = 0
        self._kept: OrderedDict[tuple[str, int], Decoded] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[str, int]) -> "Decoded | None":
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                self.hits += 1
            return found

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def put(self, key: tuple[str, int], decoded: "Decoded") -> None:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = decoded
                self._bytes += _bytes(decoded)
            while self._bytes > self.room:
                self._bytes -= _bytes(self._kept.popitem(last=False)[1])


cache = _Cache(room=64 << 20)
_storing = threading.Lock()


def admit(media: Media, root: Path, limits: PictureLimits) -> Picture:
    """Let a post's picture in, or say why not; it is decoded once here, so it is whole.

    A `data:` URL, or an http(s) URL of an allowed host, is stored below `root/.fetched/` and read
    from there the next time. Raises `PictureProblem`.
    """
    from gen_msa.media import pictures

    if media.kind != "image":
        mend = "give an image; sound, film and features are not shown to readers"
        raise PictureProblem("unsupported", media.path, f"it is {media.kind}", mend)
    if fetch.is_address(media.path):
        real, data = _by_address(media.path, root, limits)
    else:
        real = paths.inside(media.path, root)
        data = paths.read(real, media.path, limits.max_bytes)
    pictures.check(data, media.path, limits)
    sha = hashlib.sha256(data).hexdigest()
    _decoded(data, sha, media.path, limits.max_pixels)
    return Picture(path=str(real), sha256=sha, max_pixels=limits.max_pixels)


def make_room(pictures: int, limits: PictureLimits) -> None:
    """Have this process keep so many decoded pictures of this budget, at most a GiB of them.

    Fewer than are looked at between `admit` and `load` would all be decoded twice.
    """
    cache.room = max(cache.room, min(pictures * limits.max_pixels * 4, _MOST_ROOM))


def load(picture: Picture) -> "Image.Image":
    """The pixels: RGB, upright, at most `max_pixels`; a copy of the caller's own.

    Raises `PictureProblem("corrupt")` when the file is no longer the one that was admitted.
    """
    return _of(picture).image.copy()


def notes(picture: Picture) -> dict[str, str]:
    """What was changed on the way to RGB, e.g. `{"frames": "animated: first of 12 frames"}`.

    Keys: `frames`, `colour`, `alpha`, `rotation`. Raises as `load` does.
    """
    return dict(_of(picture).notes)


def data_url(picture: Picture) -> str:
    """`load(picture)` as a `data:image/jpeg;base64,…` URL. Raises as `load` does."""
    out = io.BytesIO()
    _of(picture).image.save(out, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def _of(picture: Picture) -> "Decoded":
    data = paths.read(Path(picture.path), picture.path, MOST_BYTES)
    sha = hashlib.sha256(data).hexdigest()
    if sha != picture.sha256:
        reason = "the file has changed since it was admitted"
        raise PictureProblem("corrupt", picture.path, reason, "leave it alone during a run")
    return _decoded(data, sha, picture.path, picture.max_pixels)


def _decoded(data: bytes, sha: str, path: str, max_pixels: int) -> "Decoded":
    from gen_msa.media import pictures

    found = cache.get((sha, max_pixels))
    if found is None:
        found = pictures.decode(data, path, max_pixels)
        cache.put((sha, max_pixels), found)
    return found


def _by_address(url: str, root: Path, limits: PictureLimits) -> tuple[Path, bytes]:
    """The stored file of a URL and its bytes; fetched, judged and stored when not there yet."""
    from gen_msa.media import pictures

    fetch.permit(url, limits)  # also when it lies stored: the list of hosts may have shrunk
    name = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
    real = paths.inside(f"{FETCHED}/{name}", root)
    if real.exists():
        return real, paths.read(real, url, limits.max_bytes)
    data = fetch.fetch(url, limits)
    pictures.check(data, url, limits)  # an error page is not worth keeping
    try:
        with _storing, whole(real) as f:
            f.write(data)
    except OSError as e:
        mend = "make the media root writable, or save the picture as a file"
        raise PictureProblem("unreadable", url, f"it cannot be stored: {e}", mend) from None
    return real, data


def _bytes(decoded: "Decoded") -> int:
    return decoded.image.width * decoded.image.height * 4  # Pillow keeps RGB in four bytes
