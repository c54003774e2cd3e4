"""Pictures that a client sends: `data:` URLs, or uploaded files referred to by their names.

They lie in a folder of their request's own, below the reader's media root, under names that we
make, until the request is answered. No address is fetched and no file of the server can be named:
a name that was not uploaded is refused, whatever it looks like. Knows nothing of requests.

    with Folder(root, uploads, limits, pixels=160_000_000) as folder:
        kept = folder.keep("data:image/png;base64,iVBORw0…")
"""

import hashlib
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gen_msa.media import ImageError, ImageLimits, fetch
from gen_msa.serving.errors import InvalidPost

_HINT = "send the picture as data:image/…;base64,… or upload it and give its name"


@dataclass(frozen=True)
class StoredImage:
    """A picture that was let in."""

    path: str
    """Below the media root."""
    public_name: str
    """What the answer calls it: the upload's name, or `sha256:…` for a `data:` URL."""


class UploadFolder:
    """The pictures of one request; gone when it is left."""

    def __init__(
        self,
        root: Path,
        uploads: Mapping[str, bytes],
        limits: ImageLimits,
        *,
        pixels: int,
        validate: bool = True,
    ) -> None:
        """`pixels`: of all pictures together, as their headers say.

        `judged`: refuse here what is no picture by its header; else leave that to the reader.
        """
        self._root, self._uploads, self._limits = root, uploads, limits
        self._validate, self._pixels = validate, pixels
        self._name = uuid.uuid4().hex
        self._n_stored = 0
        self.used_uploads: set[str] = set()
        """Uploads that some post has named."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._n_stored:
            shutil.rmtree(self._root / self._name, ignore_errors=True)

    def store(self, name: str) -> StoredImage:
        """The picture a post names. Raises `BadPost`: not sent, not a picture, or over a limit."""
        try:
            data, public_name = self._read_image(name)
            self._count_pixels(data, public_name)
        except ImageError as error:
            hint = _HINT if error.kind == "url_refused" else error.hint
            raise InvalidPost(f"picture {error.path[:60]}: {error.reason}", hint) from None
        self._n_stored += 1
        path = f"{self._name}/{self._n_stored}"
        (self._root / self._name).mkdir(mode=0o700, exist_ok=True)
        (self._root / path).write_bytes(data)
        return StoredImage(path, public_name)

    def _count_pixels(self, data: bytes, public_name: str) -> None:
        from gen_msa.media import images

        try:
            pixels = images.check_image(data, public_name, self._limits)
        except ImageError:
            if self._validate:
                raise
            return
        if pixels > self._pixels:
            reason = "the pictures of this request have too many pixels together"
            raise InvalidPost(
                f"picture {public_name[:60]}: {reason}", "send fewer at once, or smaller ones"
            )
        self._pixels -= pixels

    def _read_image(self, name: str) -> tuple[bytes, str]:
        if name in self._uploads:
            self.used_uploads.add(name)
            return self._uploads[name], name
        quoted_name = ascii(name[:60])
        if name[:5].lower() == "data:":
            data = fetch.fetch(name, self._limits)
            return data, f"sha256:{hashlib.sha256(data).hexdigest()}"
        if fetch.is_url(name):
            raise InvalidPost(f"picture {quoted_name}: addresses are not fetched", _HINT)
        raise InvalidPost(f"picture {quoted_name}: no file of that name was uploaded", _HINT)
