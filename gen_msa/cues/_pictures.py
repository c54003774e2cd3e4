"""Which picture of a file a post means, and its pixels where a cue source has to look itself.

Knows nothing of cues. Pictures come in by the one door there is, `gen_msa.media`.

    table = ByPicture({"17.jpg": "A dog"})
    table.find(Post(id="1", text="", media=(Media(kind="image", path="img/17.jpg"),)))  # "A dog"
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Generic, TypeVar

from gen_msa import media
from gen_msa.types import Media, Post

if TYPE_CHECKING:
    from PIL.Image import Image

V = TypeVar("V")

_IMAGE_LIMITS = media.ImageLimits(max_pixels=2048 * 2048)
"""Large enough for small print; a reader's own picture budget is another matter."""

_SUFFIX = re.compile(r"\.(jpe?g|png|gif|webp|bmp|tiff?)$", re.IGNORECASE)


def image_stem(name: str) -> str:
    """A picture's name without folders and without an image suffix: `17` of `img/17.jpg`."""
    return _SUFFIX.sub("", PurePosixPath(name.replace("\\", "/")).name)


def post_images(post: Post) -> list[Media]:
    """A post's pictures, in order."""
    return [m for m in post.media if m.kind == "image"]


class ImageTable(Generic[V]):
    """What a file says of each picture or post, found by path, then by name, then by post id."""

    def __init__(self, table: Mapping[str, V]) -> None:
        self._exact = dict(table)
        self._stems: dict[str, V] = {}
        ambiguous: set[str] = set()
        for key, value in table.items():
            name = image_stem(key)
            if name in self._stems and self._stems[name] != value:
                ambiguous.add(name)  # a/1.jpg and b/1.jpg: only the whole path tells them apart
            self._stems[name] = value
        for name in ambiguous:
            del self._stems[name]

    def find(self, post: Post) -> V | None:
        """The entry of the post's first picture that has one, else of the post's own id."""
        for path in (m.path for m in post_images(post)):
            if path in self._exact:
                return self._exact[path]
            if image_stem(path) in self._stems:
                return self._stems[image_stem(path)]
        return self._exact.get(post.id)


def load_image(media_item: Media, root: Path) -> "Image":
    """The picture below `root`, RGB and upright. Raises `PictureProblem`."""
    return media.load_image(media.open_image(media_item, root, _IMAGE_LIMITS))
