"""Which picture of a file a post means, and its pixels where a cue source has to look itself.

Knows nothing of cues. Pictures come in by the one door there is, `gen_msa.media`.

    table = ByPicture({"17.jpg": "A dog"})
    table.find(Post(id="1", text="", media=(Media(kind="image", path="img/17.jpg"),)))  # "A dog"
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gen_msa import media
from gen_msa.errors import UserError
from gen_msa.types import Media, Post

# JSON files that cues are read from.


def load_json(path: Path) -> Any:
    """The JSON value of a file. Raises `UserError` when it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise UserError(f"{path} cannot be read as JSON: {e}", hint="check the path") from None


def check_string_map(path: Path, value: Any) -> dict[str, str]:
    """`value`, read from `path`, as a map of strings. Raises `UserError` at the first misfit."""
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no map", hint='write {"picture.jpg": "what it shows"}')
    for key, text in value.items():
        if not isinstance(text, str):
            raise UserError(f"{path}: the entry {key!r} is not a string", hint="write one string")
    return value


# Fingerprints of what cues depend on: settings, versions and files.


def digest(*parts: str) -> str:
    """SHA-256 over the parts, each with its length, so that no two lists collide."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hasher.update(f"{len(data)}:".encode() + data)
    return hasher.hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


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
