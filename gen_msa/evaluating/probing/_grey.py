"""Grey pictures of the size that real ones are shown at.

Each is a `data:` URL, the one way to show any reader a picture that is no file. `media` stores what
comes that way below the media root; what was not there before is taken away again at the end.
Knows nothing of posts or readers.

    with Greys(media_root, PictureLimits()) as greys:
        greys.like(Media(kind="image", path="1.jpg"))
"""

import base64
import hashlib
import io
from pathlib import Path
from types import TracebackType
from typing import Self

from gen_msa import media
from gen_msa.media import ImageLimits
from gen_msa.types import Media

_GREY = (128, 128, 128)
_FETCHED_DIR = ".fetched"


class GreyImages:
    """Makes grey pictures, and cleans up after them."""

    def __init__(self, root: Path, limits: ImageLimits) -> None:
        self._root = root
        self._limits = limits
        self._new: set[Path] = set()
        self._had_store = (root / _FETCHED_DIR).exists()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for path in self._new:
            path.unlink(missing_ok=True)
        store = self._root / _FETCHED_DIR
        if not self._had_store and store.is_dir() and not any(store.iterdir()):
            store.rmdir()

    def grey_version(self, image: Media) -> Media:
        """A grey picture as large as `picture` is shown. Raises `PictureProblem`."""
        from PIL import Image

        size = media.load_image(media.open_image(image, self._root, self._limits)).size
        out = io.BytesIO()
        Image.new("RGB", size, _GREY).save(out, "PNG")
        url = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
        stored = self._root / _FETCHED_DIR / hashlib.sha256(url.encode()).hexdigest()
        if not stored.exists():
            self._new.add(stored)
        return Media(kind="image", path=url)
