"""The only door by which a picture comes in: inside the media root, whole, and within limits.

Knows nothing of posts or models. A path must be relative and end below the media root; no URL is
fetched unless its host is allowed; size and shape are judged before a pixel is decoded.

    picture = admit(Media(kind="image", path="img/1.jpg"), Path("data"), PictureLimits())
    load(picture)       # RGB, upright, at most max_pixels
    data_url(picture)   # the same as a data: URL
    notes(picture)      # {"rotation": "exif rotated"}
"""

from gen_msa.media._digest import digest
from gen_msa.media._gate import open_image, data_url, load_image, resize_cache, conversion_notes
from gen_msa.media._problem import ImageLimits, ImageError

__all__ = [
    "ImageLimits",
    "ImageError",
    "open_image",
    "data_url",
    "digest",
    "load_image",
    "resize_cache",
    "conversion_notes",
]
