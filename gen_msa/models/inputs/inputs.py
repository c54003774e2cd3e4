"""What a student reads of posts besides their words: a tensor of features for each modality.

`picture` is a post's first picture as a frozen EfficientNet-Lite0 sees it: 16 steps of 1280
numbers. It is let in by `gen_msa.media` and shown to the tower once; from then on, in this run and
the next, its features are read from `pictures/` in the cache folder, 41 kB each, and no pixel is
decoded; beyond `GEN_MSA_CACHE_GB` (10) those not looked at longest are made anew. They are rounded
to float16 (3 digits) when made, so that they are the same whether made or read; each picture is
shown alone, so that they are the same whatever stands beside it (and on a CPU that is faster than
by the dozen).

Any other modality is a post's first media of kind `features` whose key is the modality's name, or
begins with it and a stroke where one file has those of many posts: `audio`, `audio/17`. A tensor of
the safetensors file is (steps, width), or (width) for a single step, of any kind of number. Every
file is opened once.

Knows nothing of students, rows, labels or training.

    inputs(posts, Path("pictures"), ("picture",))[0].tensors["picture"].shape      # (16, 1280)
"""

import functools
import hashlib
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as loads
from safetensors.torch import save as dumps

from gen_msa import answer_cache, settings
from gen_msa.chat import ImageInput
from gen_msa.cues import cue_sources
from gen_msa.disk_cache import LruDiskCache, max_cache_bytes
from gen_msa.encoders.vision import packaged
from gen_msa.errors import UserError
from gen_msa.media import ImageError, ImageLimits, digest, load_image, open_image
from gen_msa.media.paths import resolve_inside
from gen_msa.types import Media, Post

# The context of a row: what cue sources say of its aspect, one line a source.


def build_contexts(
    posts: Sequence[Post], cue_options: Mapping[str, Mapping[str, Any]], root: Path
) -> list[tuple[str, ...]]:
    """For each post one text for each of its aspects; "" where no source has anything to say.

    `root` is where a source that opens pictures itself looks, unless it is told otherwise.
    Raises `UserError` for an unknown source or option.
    """
    lines_by_post: list[list[list[str]]] = [[[] for _ in p.aspects] for p in posts]
    for name, options in cue_options.items():
        cue_class = cue_sources[name]
        defaults = {"media_root": root} if "media_root" in cue_class.Options.model_fields else {}
        source = cue_class(
            settings.build(cue_class.Options, {**defaults, **options}, f"cues.{name}")
        )
        for lines, post_cues in zip(lines_by_post, source.cues(posts), strict=True):
            for line, cue in zip(lines, post_cues, strict=True):
                line += [cue.text] * bool(cue.text)
    return [tuple("\n".join(line) for line in lines) for lines in lines_by_post]


if TYPE_CHECKING:
    from gen_msa.encoders.vision.efficientnet_lite import EfficientNetLite

TEXT_MODALITIES = ("text", "context")
"""Modalities that are made of words: never a matter of this file."""
IMAGE_MODALITY = "image"
GRID = 4
"""A picture is GRID x GRID steps."""
_LIMITS = ImageLimits()
_log = logging.getLogger("gen_msa.models")


@dataclass(frozen=True)
class ModalityInputs:
    """Of one post."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    """Modality -> (steps, width), float32; one that the post has not is missing."""
    problems: dict[str, str] = field(default_factory=dict)
    """Modality -> why something that the post names could not be read."""


def load_modalities(
    posts: Sequence[Post], root: Path, names: Sequence[str]
) -> list[ModalityInputs]:
    """For each post, in order, what it has of the modalities `names`; words are passed over.

    Nothing below `root` is opened that a path leads out of. A file that cannot be read is a
    problem of its post alone.
    """
    modalities = [n for n in names if n not in TEXT_MODALITIES]
    results = [ModalityInputs() for _ in posts]
    for name in modalities:
        if name == IMAGE_MODALITY:
            extract_image_features(posts, root, results)
        else:
            load_features(posts, root, name, results)
    return results


def feature_widths(names: Sequence[str], results: Sequence[ModalityInputs]) -> dict[str, int]:
    """Modality -> width of its features, from the first post that has it."""
    width_by_modality: dict[str, int] = {}
    for name in names:
        shapes = (i.tensors[name].shape for i in results if name in i.tensors)
        if (shape := next(shapes, None)) is not None:
            width_by_modality[name] = int(shape[1])
    return width_by_modality


def load_features(
    posts: Sequence[Post], root: Path, name: str, results: Sequence[ModalityInputs]
) -> None:
    """Add to `found[i]` the features `name` of `posts[i]`, where it has any.

    A path that leads out of `root`, a file or tensor that cannot be read, and numbers that are not
    finite are a problem of the post alone.
    """
    entries_by_path: dict[str, list[tuple[int, str]]] = {}
    for i, post in enumerate(posts):
        if (media := _find_media(post, name)) is not None:
            entries_by_path.setdefault(media.path, []).append((i, media.key or ""))
    for path, entries in entries_by_path.items():
        try:
            handle = _open_file(path, root)
        except (ImageError, SafetensorError, OSError) as e:
            for i, _ in entries:
                results[i].problems[name] = f"{path}: {e}"
            continue
        with handle as file:
            for i, key in entries:
                _add_tensor(file, key, results[i], name, path)


def _find_media(post: Post, name: str) -> Media | None:
    matching = (
        m
        for m in post.media
        if m.kind == "features" and m.key is not None and m.key.partition("/")[0] == name
    )
    return next(matching, None)


def _open_file(path: str, root: Path) -> Any:
    resolved = resolve_inside(path, root)
    # A pipe would be waited for, and a folder is no file.
    if not resolved.is_file():
        raise FileNotFoundError("there is no such file")
    return safe_open(resolved, framework="pt")


def _add_tensor(file: Any, key: str, post_inputs: ModalityInputs, name: str, path: str) -> None:
    try:
        tensor = file.get_tensor(key)
    except SafetensorError as e:
        post_inputs.problems[name] = f"{path}: {e}"
        return
    tensor = tensor.unsqueeze(0) if tensor.ndim == 1 else tensor
    problem = ""
    if tensor.ndim != 2 or not tensor.numel():
        problem = f"{key} is {' x '.join(map(str, tensor.shape))}, not steps x width"
    elif tensor.is_complex() or not torch.isfinite(tensor.float()).all():
        problem = f"{key} holds what is no finite number"
    if problem:
        post_inputs.problems[name] = f"{path}: {problem}"
    else:
        post_inputs.tensors[name] = tensor.to(torch.float32, copy=True)


def extract_image_features(
    posts: Sequence[Post],
    root: Path,
    results: Sequence[ModalityInputs],
    extractor: "ImageFeatureExtractor | None" = None,
) -> None:
    """Add to `found[i]` the features of the first picture of `posts[i]`, if it has one.

    A picture that is not let in, or cannot be read, is a problem of its post. `eyes`: others than
    the packaged ones. Posts of one picture share one tensor. Raises `UserError` when the package
    of weights is missing, or the cache folder cannot be written.
    """
    in_memory: dict[str, torch.Tensor] = {}
    for post, post_inputs in zip(posts, results, strict=True):
        media = next((m for m in post.media if m.kind == "image"), None)
        if media is None:
            continue
        extractor = extractor or packaged_extractor(packaged.cache_folder())
        try:
            post_inputs.tensors[IMAGE_MODALITY] = extractor.extract(media, root, in_memory)
        except ImageError as problem:
            post_inputs.problems[IMAGE_MODALITY] = str(problem)


@functools.cache
def packaged_extractor(cache: Path) -> "ImageFeatureExtractor":
    """The packaged tower, loaded once; what it sees is kept below `cache`."""
    tower = packaged.load_efficientnet(packaged.EFFICIENTNET_LITE0.require(), GRID)
    return ImageFeatureExtractor(tower, cache / "image_features")


class ImageFeatureExtractor:
    """A frozen tower and what it said, in a folder that several processes may share."""

    def __init__(self, tower: "EfficientNetLite", folder: Path) -> None:
        """`tower`: in evaluation mode, as it stays; `folder` is made when first written to.

        Raises `UserError` where its bound is no number.
        """
        import transformers  # only who looks at pictures needs it

        from gen_msa.encoders.vision.efficientnet_lite import image_processor

        self.cache = LruDiskCache(folder, max_cache_bytes())
        self.computed = 0
        """Pictures that were shown to the tower, not recalled."""
        self._tower = tower
        self._processor = image_processor(tower.config)
        self._lock = threading.Lock()
        weights = {k: v.contiguous() for k, v in tower.state_dict().items()}
        self._key_fields = {
            "tower": hashlib.sha256(dumps(weights)).hexdigest(),
            "settings": tower.config.to_json_string(),
            "pixels": self._processor.to_json_string(),
            "limits": _LIMITS.model_dump_json(),
            "transformers": transformers.__version__,
        }

    def extract(self, media: Media, root: Path, in_memory: dict[str, torch.Tensor]) -> torch.Tensor:
        """Features of a picture, (steps, width); `seen` holds, by hash, those at hand already.

        Raises `PictureProblem`, and `UserError` when they cannot be kept.
        """
        with self._lock:
            sha = digest(media, root, _LIMITS)
            features = self._lookup(sha, in_memory)
            if features is None:
                image = open_image(media, root, _LIMITS)
                # What comes by an address is known by its bytes only now.
                sha = image.sha256
                features = self._lookup(sha, in_memory)
                features = self._compute(image) if features is None else features
            in_memory[sha] = features
            return features

    def file_name(self, sha: str) -> str:
        """The file of a picture's features; `sha` is the hash of the picture's bytes."""
        return f"{answer_cache.hash_key({**self._key_fields, 'image': sha})}.safetensors"

    def _lookup(self, sha: str, in_memory: dict[str, torch.Tensor]) -> torch.Tensor | None:
        return in_memory[sha] if sha in in_memory else self._load(sha)

    def _load(self, sha: str) -> torch.Tensor | None:
        name = self.file_name(sha)
        try:
            data = self.cache.get(name)
            if data is None:
                return None
            stored = loads(data)
            features, digest_stored = stored[IMAGE_MODALITY], bytes(stored["sha256"].tolist())
            if _features_sha256(features) != digest_stored:
                raise ValueError("its contents are not what was written")
        except (SafetensorError, OSError, KeyError, ValueError) as e:
            _log.warning("%s is damaged and is computed again: %s", self.cache.path(name), e)
            return None
        return features.float()

    def _compute(self, image: ImageInput) -> torch.Tensor:
        pixels = self._processor(load_image(image), return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            features = self._tower(pixels).last_hidden_state[0].half().contiguous()
        stored = {
            IMAGE_MODALITY: features,
            "sha256": torch.tensor(list(_features_sha256(features)), dtype=torch.uint8),
        }
        try:
            self.cache.put(self.file_name(image.sha256), dumps(stored))
        except OSError as e:
            raise UserError(
                f"features of images cannot be stored in {self.cache.folder}: {e}",
                hint="set GEN_MSA_CACHE to a folder that can be written",
            ) from None
        self.computed += 1
        return features.float()


def _features_sha256(features: torch.Tensor) -> bytes:
    return hashlib.sha256(features.numpy().tobytes()).digest()
