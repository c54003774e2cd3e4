"""Turn the `Media` of a post into a checked `ImageInput`, and that into pixels.

An image is decoded once per process: a bounded cache keeps it, keyed by the hash of the file's
bytes and the pixel budget, never by path.

    image = open_image(Media(kind="image", path="img/1.jpg"), Path("data"), ImageLimits())
    load_image(image).size
"""

import base64
import functools
import hashlib
import io
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from gen_msa.chat import ImageInput
from gen_msa.jsonl import atomic_write
from gen_msa.media import fetch
from gen_msa.media.errors import MAX_FILE_BYTES, ImageError, ImageLimits
from gen_msa.types import Media

if TYPE_CHECKING:
    from PIL import Image

    from gen_msa.media.images import DecodedImage

FETCH_FOLDER = ".fetched"
"""Folder below the media root for images fetched by URL, each named by its URL's SHA-256."""

_JPEG_QUALITY = 90
_MAX_CACHE_BYTES = 1 << 30


def digest(media: Media, root: Path, limits: ImageLimits) -> str:
    """Return the SHA-256 (hex) of a file without decoding it, for answer-cache keys.

    Args:
        media: Media of a post.
        root: Media root.
        limits: Limits of the file size.

    Returns:
        The hash, for features with the name of the tensor; for a URL, for media that no model is
        shown and for unreadable files a text that identifies them.
    """
    if media.kind == "features":
        return f"{_features_digest(media.path, root)} {media.key}"
    if media.kind != "image":
        return f"not shown: {media.model_dump_json()}"
    if fetch.is_url(media.path):
        return f"address: {media.path}"
    try:
        data = fetch.read_file(fetch.resolve_inside(media.path, root), media.path, limits.max_bytes)
    except ImageError as error:
        return f"{error.kind}: {media.path}"
    return hashlib.sha256(data).hexdigest()


def relative_to_root(media: Media, root: Path) -> Media:
    """Return media whose absolute path below `root` is relative, so that the folder may move.

    Args:
        media: Media of a post.
        root: Media root.
    """
    path = Path(media.path)
    for base in (root.absolute(), root.resolve()) if path.is_absolute() else ():
        if path.is_relative_to(base):
            return media.model_copy(update={"path": path.relative_to(base).as_posix()})
    return media


def _features_digest(path: str, root: Path) -> str:
    try:
        resolved = fetch.resolve_inside(path, root)
        stat = resolved.stat()
        return _file_sha256(resolved, stat.st_size, stat.st_mtime_ns)
    except (ImageError, OSError) as error:
        return f"{type(error).__name__}: {path}"


@functools.lru_cache(maxsize=256)
def _file_sha256(path: Path, size: int, modified_ns: int) -> str:
    """Hash a file, which holds the features of many posts, once."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


class _ImageCache:
    """Decoded images; the least recently used are dropped beyond `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.hits = 0
        self._entries: OrderedDict[tuple[str, int], DecodedImage] = OrderedDict()
        self._total_bytes = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[str, int]) -> "DecodedImage | None":
        with self._lock:
            decoded = self._entries.get(key)
            if decoded is not None:
                self._entries.move_to_end(key)
                self.hits += 1
            return decoded

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._total_bytes = 0

    def put(self, key: tuple[str, int], decoded: "DecodedImage") -> None:
        with self._lock:
            if key not in self._entries:
                self._entries[key] = decoded
                self._total_bytes += _decoded_bytes(decoded)
            while self._total_bytes > self.max_bytes:
                self._total_bytes -= _decoded_bytes(self._entries.popitem(last=False)[1])


cache = _ImageCache(max_bytes=64 << 20)
_write_lock = threading.Lock()


def open_image(media: Media, root: Path, limits: ImageLimits) -> ImageInput:
    """Check an image of a post and decode it once, so that it is known to be complete.

    A `data:` URL, or an http(s) URL of an allowed host, is stored below `root/.fetched/` and read
    from there the next time.

    Args:
        media: Media of a post; only `kind="image"` is accepted.
        root: Media root; no file outside it is opened.
        limits: Limits of the file, and the pixel budget.

    Returns:
        The checked image, identified by the hash of its bytes.

    Raises:
        ImageError: The image is missing, broken, unsupported or not allowed.
    """
    from gen_msa.media import images

    if media.kind != "image":
        hint = "give an image; audio, video and features are not shown to this model"
        raise ImageError("unsupported", media.path, f"it is {media.kind}", hint)
    if fetch.is_url(media.path):
        resolved_path, data = _fetch_stored(media.path, root, limits)
    else:
        resolved_path = fetch.resolve_inside(media.path, root)
        data = fetch.read_file(resolved_path, media.path, limits.max_bytes)
    images.check_image(data, media.path, limits)
    digest_hex = hashlib.sha256(data).hexdigest()
    _decode_cached(data, digest_hex, media.path, limits.max_pixels)
    return ImageInput(path=str(resolved_path), sha256=digest_hex, max_pixels=limits.max_pixels)


def resize_cache(n_images: int, limits: ImageLimits) -> None:
    """Let this process keep `n_images` decoded images of this budget, at most 1 GiB of them.

    Fewer than are opened between `open_image` and `load_image` would all be decoded twice.

    Args:
        n_images: Number of images in use at once.
        limits: Limits with the pixel budget of these images.
    """
    cache.max_bytes = max(cache.max_bytes, min(n_images * limits.max_pixels * 4, _MAX_CACHE_BYTES))


def load_image(image: ImageInput) -> "Image.Image":
    """Return the pixels as a new RGB image, upright, of at most `max_pixels`.

    Raises:
        ImageError: The file is no longer the one that was checked (`corrupt`).
    """
    return _decode_checked(image).image.copy()


def conversion_notes(image: ImageInput) -> dict[str, str]:
    """Return what was changed on the way to RGB.

    Returns:
        E.g. `{"frames": "animated: first of 12 frames"}`; keys: `frames`, `colour`, `alpha`,
        `rotation`, `completeness`.

    Raises:
        ImageError: The file is no longer the one that was checked.
    """
    return dict(_decode_checked(image).notes)


def data_url(image: ImageInput) -> str:
    """Return the pixels as a `data:image/jpeg;base64,…` URL.

    Raises:
        ImageError: The file is no longer the one that was checked.
    """
    buffer = io.BytesIO()
    _decode_checked(image).image.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _decode_checked(image: ImageInput) -> "DecodedImage":
    data = fetch.read_file(Path(image.path), image.path, MAX_FILE_BYTES)
    digest_hex = hashlib.sha256(data).hexdigest()
    if digest_hex != image.sha256:
        reason = "the file has changed since it was checked"
        raise ImageError("corrupt", image.path, reason, "do not change files during a run")
    return _decode_cached(data, digest_hex, image.path, image.max_pixels)


def _decode_cached(data: bytes, digest_hex: str, path: str, max_pixels: int) -> "DecodedImage":
    from gen_msa.media import images

    decoded = cache.get((digest_hex, max_pixels))
    if decoded is None:
        decoded = images.decode_image(data, path, max_pixels)
        cache.put((digest_hex, max_pixels), decoded)
    return decoded


def _fetch_stored(url: str, root: Path, limits: ImageLimits) -> tuple[Path, bytes]:
    """Return the stored file of a URL and its bytes; fetch, check and store it if it is new."""
    from gen_msa.media import images

    # Also for a stored file: the list of allowed hosts may have been shortened.
    fetch.check_url_allowed(url, limits)
    url_hash = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
    stored_path = fetch.resolve_inside(f"{FETCH_FOLDER}/{url_hash}", root)
    if stored_path.exists():
        return stored_path, fetch.read_file(stored_path, url, limits.max_bytes)
    data = fetch.fetch(url, limits)
    images.check_image(data, url, limits)  # an error page is not stored
    try:
        with _write_lock, atomic_write(stored_path) as f:
            f.write(data)
    except OSError as e:
        hint = "make the media root writable, or save the image as a file"
        raise ImageError("unreadable", url, f"it cannot be stored: {e}", hint) from None
    return stored_path, data


def store_bytes(data: bytes, root: Path) -> str:
    """Store the bytes of an image below the media root, under their SHA-256.

    Args:
        data: The bytes, which are not checked here.
        root: Media root.

    Returns:
        The path relative to the root.

    Raises:
        OSError: The root cannot be written.
    """
    path = f"{FETCH_FOLDER}/{hashlib.sha256(data).hexdigest()}"
    stored_path = fetch.resolve_inside(path, root)
    if not stored_path.exists():
        with _write_lock, atomic_write(stored_path) as f:
            f.write(data)
    return path


def _decoded_bytes(decoded: "DecodedImage") -> int:
    return decoded.image.width * decoded.image.height * 4  # Pillow keeps RGB in four bytes
