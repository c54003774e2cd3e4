"""What a picture is, without decoding it: the hash by which earlier answers are found again.

Knows nothing of ledgers. Equal digests mean equal bytes; a file that cannot be read has a digest
that changes once it can.

    digest(Media(kind="image", path="img/1.jpg"), Path("data"), PictureLimits())
"""

import hashlib
from pathlib import Path

from gen_msa.media import fetch, paths
from gen_msa.media._problem import ImageLimits, ImageError
from gen_msa.types import Media


def digest(media: Media, root: Path, limits: ImageLimits) -> str:
    """sha256 (hex) of the file's bytes; for media that are not read, what names them."""
    if media.kind != "image":
        return f"not shown: {media.model_dump_json()}"
    if fetch.is_url(media.path):
        return f"address: {media.path}"
    try:
        data = paths.read_file(paths.resolve_inside(media.path, root), media.path, limits.max_bytes)
    except ImageError as error:
        return f"{error.kind}: {media.path}"
    return hashlib.sha256(data).hexdigest()
