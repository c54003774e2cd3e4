"""Load images safely: from the media root, complete, and within limits.

A path must be relative and end below the media root; a URL is fetched only from allowed hosts; size
and shape are checked before any pixel is decoded.

    image = open_image(Media(kind="image", path="img/1.jpg"), Path("data"), ImageLimits())
    load_image(image)         # RGB, upright, at most max_pixels
    data_url(image)           # the same as a data: URL
    conversion_notes(image)   # {"rotation": "exif rotated"}
"""

from gen_msa.media.admission import (
    conversion_notes,
    data_url,
    digest,
    load_image,
    open_image,
    relative_to_root,
    resize_cache,
    store_bytes,
)
from gen_msa.media.errors import ErrorKind, ImageError, ImageLimits

__all__ = [
    "ErrorKind",
    "ImageError",
    "ImageLimits",
    "conversion_notes",
    "data_url",
    "digest",
    "load_image",
    "open_image",
    "relative_to_root",
    "resize_cache",
    "store_bytes",
]
