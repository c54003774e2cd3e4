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

from gen_msa.media import PictureLimits, PictureProblem, fetch
from gen_msa.serving.problems import BadPost

_MEND = "send the picture as data:image/…;base64,… or upload it and give its name"


@dataclass(frozen=True)
class Kept:
    """A picture that was let in."""

    path: str
    """Below the media root."""
    told: str
    """What the answer calls it: the upload's name, or `sha256:…` for a `data:` URL."""


class Folder:
    """The pictures of one request; gone when it is left."""

    def __init__(
        self,
        root: Path,
        uploads: Mapping[str, bytes],
        limits: PictureLimits,
        *,
        pixels: int,
        judged: bool = True,
    ) -> None:
        """`pixels`: of all pictures together, as their headers say.

        `judged`: refuse here what is no picture by its header; else leave that to the reader.
        """
        self._root, self._uploads, self._limits = root, uploads, limits
        self._judged, self._pixels = judged, pixels
        self._name = uuid.uuid4().hex
        self._count = 0
        self.used: set[str] = set()
        """Uploads that some post has named."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._count:
            shutil.rmtree(self._root / self._name, ignore_errors=True)

    def keep(self, name: str) -> Kept:
        """The picture a post names. Raises `BadPost`: not sent, not a picture, or over a limit."""
        try:
            data, told = self._bytes(name)
            self._count_pixels(data, told)
        except PictureProblem as problem:
            mend = _MEND if problem.kind == "url_refused" else problem.mend
            raise BadPost(f"picture {problem.path[:60]}: {problem.reason}", mend) from None
        self._count += 1
        path = f"{self._name}/{self._count}"
        (self._root / self._name).mkdir(mode=0o700, exist_ok=True)
        (self._root / path).write_bytes(data)
        return Kept(path, told)

    def _count_pixels(self, data: bytes, told: str) -> None:
        from gen_msa.media import pictures

        try:
            pixels = pictures.check(data, told, self._limits)
        except PictureProblem:
            if self._judged:
                raise
            return
        if pixels > self._pixels:
            why = "the pictures of this request have too many pixels together"
            raise BadPost(f"picture {told[:60]}: {why}", "send fewer at once, or smaller ones")
        self._pixels -= pixels

    def _bytes(self, name: str) -> tuple[bytes, str]:
        if name in self._uploads:
            self.used.add(name)
            return self._uploads[name], name
        shown = ascii(name[:60])
        if name[:5].lower() == "data:":
            data = fetch.fetch(name, self._limits)
            return data, f"sha256:{hashlib.sha256(data).hexdigest()}"
        if fetch.is_address(name):
            raise BadPost(f"picture {shown}: addresses are not fetched", _MEND)
        raise BadPost(f"picture {shown}: no file of that name was uploaded", _MEND)
