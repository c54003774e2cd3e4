"""Store images that a client sends: `data:` URLs, or uploaded files referred to by their names.

They lie in a folder of their request, below the model's media root, under generated names, until
the request is answered. No URL is fetched and no file of the server can be named: a name that was
not uploaded is refused, whatever it looks like.

    with UploadFolder(root, uploads, limits, pixels=160_000_000) as folder:
        stored_image = folder.store("data:image/png;base64,iVBORw0…")
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

_HINT = "send the image as data:image/…;base64,… or upload it and give its name"


@dataclass(frozen=True)
class StoredImage:
    """An image that passed the checks."""

    path: str
    """Path below the media root."""
    public_name: str
    """Name in the answer: the upload's name, or `sha256:…` for a `data:` URL."""


class UploadFolder:
    """Images of one request; removed at the end of the context."""

    def __init__(
        self,
        root: Path,
        uploads: Mapping[str, bytes],
        limits: ImageLimits,
        *,
        pixels: int,
        validate: bool = True,
    ) -> None:
        """Prepare the folder; it is created with the first image.

        Args:
            root: The model's media root.
            uploads: Uploaded files by name.
            limits: Limits on one image.
            pixels: Limit on the pixels of all images together, by their headers.
            validate: Refuse here what is not an image by its header; else leave that to the model.
        """
        self._root, self._uploads, self._limits = root, uploads, limits
        self._validate, self._pixels = validate, pixels
        self._name = uuid.uuid4().hex
        self._n_stored = 0
        self.used_uploads: set[str] = set()
        """Uploads that a post has named."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._n_stored:
            shutil.rmtree(self._root / self._name, ignore_errors=True)

    def store(self, name: str) -> StoredImage:
        """Store the image that a post names.

        Args:
            name: `data:` URL, or the name of an uploaded file.

        Returns:
            Where it is stored, and its name in the answer.

        Raises:
            InvalidPost: The image was not sent, is not an image, or is over a limit.
        """
        try:
            data, public_name = self._read_image(name)
            self._count_pixels(data, public_name)
        except ImageError as error:
            hint = _HINT if error.kind == "url_refused" else error.hint
            raise InvalidPost(f"image {error.path[:60]}: {error.reason}", hint) from None
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
            reason = "the images of this request have too many pixels together"
            raise InvalidPost(
                f"image {public_name[:60]}: {reason}", "send fewer at once, or smaller ones"
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
            raise InvalidPost(f"image {quoted_name}: URLs are not fetched", _HINT)
        raise InvalidPost(f"image {quoted_name}: no file of that name was uploaded", _HINT)
