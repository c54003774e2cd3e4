"""The interface of cue sources, their registry, and how they read their files and images.

source = cue_sources["syntax"](cue_sources["syntax"].Options(k=2))
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from gen_msa import jsonl, manifest, media
from gen_msa.errors import UserError, user_errors
from gen_msa.registry import Registry
from gen_msa.settings import Settings, build, content
from gen_msa.types import Cue, Media, Post

if TYPE_CHECKING:
    from PIL.Image import Image


# Shared inputs of cue sources: JSON files keyed by image, fingerprints, and images as pixels.


def load_json(path: Path) -> Any:
    """Return the JSON value of a file.

    Raises:
        UserError: The file is missing or not JSON.
    """
    with user_errors(path, "cannot be read as JSON", hint="check the path"):
        return jsonl.load_json(path.read_text(encoding="utf-8"))


def check_string_map(path: Path, value: Any) -> dict[str, str]:
    """Return `value` as a mapping of strings.

    Args:
        path: The file of the value, for messages.
        value: The value.

    Raises:
        UserError: It is not a mapping of strings.
    """
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a mapping", hint='write {"image.jpg": "what it shows"}')
    for key, text in value.items():
        if not isinstance(text, str):
            raise UserError(f"{path}: the entry {key!r} is not a string", hint="write a string")
    return value


def digest(*parts: str) -> str:
    """Return the SHA-256 of the parts with their lengths, so that different lists differ."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hasher.update(f"{len(data)}:".encode() + data)
    return hasher.hexdigest()


def content_text(options: Settings | Sequence[Settings]) -> str:
    """Return options as text for `digest`: files by their contents, wherever they lie."""
    return json.dumps(content(options), sort_keys=True)


def digest_model(name: str) -> str:
    """Return the digest of a folder of a model, or the name of a model that is not a folder."""
    return manifest.content_digest(Path(name)) if name and Path(name).is_dir() else name


def require_inside(cues: Mapping[str, Mapping[str, Any]], folder: Path | None, owner: str) -> None:
    """Refuse options of cues that lead out of the folder that brought them.

    Args:
        cues: Cue source -> its options, as a student or an adapter brings them.
        folder: Folder of the student, which may be somebody else's; None allows no path at all.
        owner: The file that names the cues, for the message.

    Raises:
        UserError: An option names a file, or a folder of a model, that is not below `folder`.
    """
    for name, options in cues.items():
        built = build(cue_sources[name].Options, options, f"{owner}: cues.{name}")
        for path in _paths(built):
            if folder is None or not path.resolve().is_relative_to(folder.resolve()):
                raise UserError(
                    f"{owner}: cues.{name} names {path}, which is outside the folder",
                    hint="if these files are yours, name them yourself: cues=… as in training",
                )


def _paths(value: Any) -> Iterator[Path]:
    """Yield every path in options, but for the media root, and models that are named by a path."""
    if isinstance(value, Settings):
        for name in type(value).model_fields:
            field = getattr(value, name)
            if name == "model" and isinstance(field, str):
                yield from [Path(field)] if "/" in field or "\\" in field else []
            elif name != "media_root":
                yield from _paths(field)
    elif isinstance(value, Path):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _paths(item)


V = TypeVar("V")

_IMAGE_LIMITS = media.ImageLimits(max_pixels=2048 * 2048)
"""Large enough for small print; independent of a model's image budget."""

_SUFFIX = re.compile(r"\.(jpe?g|png|gif|webp|bmp|tiff?)$", re.IGNORECASE)


def image_stem(name: str) -> str:
    """Return an image name without folders and image suffix: `17` for `img/17.jpg`."""
    return _SUFFIX.sub("", PurePosixPath(name.replace("\\", "/")).name)


def post_images(post: Post) -> list[Media]:
    """Return a post's images, in order."""
    return [m for m in post.media if m.kind == "image"]


class ImageTable(Generic[V]):
    """Values by image or post, found by path, then by image name, then by post id."""

    def __init__(self, table: Mapping[str, V]) -> None:
        self._exact = dict(table)
        self._stems: dict[str, V] = {}
        ambiguous: set[str] = set()
        for key, value in table.items():
            name = image_stem(key)
            if name in self._stems and self._stems[name] != value:
                ambiguous.add(name)  # a/1.jpg and b/1.jpg differ only in the path
            self._stems[name] = value
        for name in ambiguous:
            del self._stems[name]

    def find(self, post: Post) -> V | None:
        """Return the entry of the first image of the post that has one, else of the post's id."""
        for path in (m.path for m in post_images(post)):
            if path in self._exact:
                return self._exact[path]
            if image_stem(path) in self._stems:
                return self._stems[image_stem(path)]
        return self._exact.get(post.id)


def load_image(media_item: Media, root: Path) -> "Image":
    """Load an image below `root`, as RGB and upright.

    Args:
        media_item: The image.
        root: The media root.

    Returns:
        The decoded image.

    Raises:
        ImageError: The image cannot be loaded.
    """
    return media.load_image(media.open_image(media_item, root, _IMAGE_LIMITS))


class CueSource(Protocol):
    """Computes one cue for each aspect of each post."""

    slot: str
    """The prompt slot of its cues."""

    def cues(self, posts: Sequence[Post]) -> list[tuple[Cue, ...]]:
        """Return, for each post in order, one `Cue` for each of `post.aspects` in order.

        An empty cue has `text=""`.
        """
        ...

    def fingerprint(self) -> str:
        """Return a hash of all that the cues depend on: options, parser version, files."""
        ...


class CueFactory(Protocol):
    """The registered class of a cue source, with its options."""

    Options: type[Settings]

    def __call__(self, options: Any) -> CueSource:
        """Create the source without loading models or files."""
        ...


cue_sources: Registry[CueFactory] = Registry("cue", "gen_msa.cues", "gen_msa.cues")
