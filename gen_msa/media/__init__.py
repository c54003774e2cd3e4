"""The only door by which a picture comes in: inside the media root, whole, and within limits.

Knows nothing of posts or models. A path must be relative and end below the media root; no URL is
fetched unless its host is allowed; size and shape are judged before a pixel is decoded.

    picture = admit(Media(kind="image", path="img/1.jpg"), Path("data"), PictureLimits())
    load(picture)       # RGB, upright, at most max_pixels
    data_url(picture)   # the same as a data: URL
    notes(picture)      # {"rotation": "exif rotated"}
"""

from gen_msa.media.admission import (
    conversion_notes,
    data_url,
    digest,
    load_image,
    open_image,
    resize_cache,
)
from gen_msa.media.errors import ImageError, ImageLimits

__all__ = [
    "ImageError",
    "ImageLimits",
    "conversion_notes",
    "data_url",
    "digest",
    "load_image",
    "open_image",
    "resize_cache",
]
