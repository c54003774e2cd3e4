"""Inputs of students besides the text of a post: contexts, image features, feature tensors.

`image` is a post's first image as encoded by a frozen EfficientNet-Lite0: 16 steps of 1280 values.
It is opened through `gen_msa.media` and encoded once; afterwards its features (41 kB) are read from
`image_features/` in the cache folder, and no pixel is decoded. Beyond `GEN_MSA_CACHE_GB` (10) the
least recently used features are removed. Features are rounded to float16 when computed, so that
computed and stored ones are equal. Each image is encoded alone, so that its features do not depend
on others (and on a CPU that is faster than in batches).

Any other modality is a post's first media of kind `features` whose key is the modality's name, or
starts with it and a slash where one file holds those of many posts: `audio`, `audio/17`. The tensor
in the safetensors file is (steps, width), or (width) for a single step, of any numeric type. Every
file is opened once.

    load_modalities(posts, Path("images"), ("image",))[0].tensors["image"].shape      # (16, 1280)
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
from gen_msa.encoders.vision import base
from gen_msa.errors import write_errors
from gen_msa.language import AUTO
from gen_msa.media import ImageError, ImageLimits, digest, load_image, open_image
from gen_msa.media.fetch import resolve_inside
from gen_msa.preemption import preemption_point
from gen_msa.types import Media, Post

if TYPE_CHECKING:
    from gen_msa.encoders.vision.efficientnet_lite import EfficientNetLite

TEXT_MODALITIES = ("text", "context")
"""Modalities that are token ids; this module does not load them."""
IMAGE_MODALITY = "image"
GRID = 4
"""An image is GRID x GRID steps."""
_LIMITS = ImageLimits()
_log = logging.getLogger("gen_msa.models")


@dataclass(frozen=True)
class ModalityInputs:
    """Tensors of one post."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    """Modality -> (steps, width), float32; a modality that the post lacks is missing."""
    problems: dict[str, str] = field(default_factory=dict)
    """Modality -> why media that the post names could not be loaded."""


def build_contexts(
    posts: Sequence[Post],
    cue_options: Mapping[str, Mapping[str, Any]],
    root: Path,
    language: str = AUTO,
) -> list[tuple[str, ...]]:
    """Write a context for each aspect of each post, one line per cue source.

    Args:
        posts: Posts with aspects.
        cue_options: Cue source -> its options.
        root: Media root of sources that open images, unless their options name another.
        language: Language of the posts for sources that parse, likewise; `auto` to detect it.

    Returns:
        For each post one text per aspect; "" where no source has anything to say.

    Raises:
        UserError: A source or option is unknown.
    """
    lines_by_post: list[list[list[str]]] = [[[] for _ in p.aspects] for p in posts]
    for name, options in cue_options.items():
        cue_class = cue_sources[name]
        known = {"media_root": root, "language": language}
        defaults = {k: v for k, v in known.items() if k in cue_class.Options.model_fields}
        source = cue_class(
            settings.build(cue_class.Options, {**defaults, **options}, f"cues.{name}")
        )
        for lines, post_cues in zip(lines_by_post, source.cues(posts), strict=True):
            for line, cue in zip(lines, post_cues, strict=True):
                line += [cue.text] * bool(cue.text)
    return [tuple("\n".join(line) for line in lines) for lines in lines_by_post]


def load_modalities(
    posts: Sequence[Post], root: Path, names: Sequence[str]
) -> list[ModalityInputs]:
    """Load the tensors of each post; a file that cannot be read is a problem of its post alone.

    Args:
        posts: Posts with media.
        root: Media root; no file outside it is opened.
        names: Modalities to load; those of text are skipped.

    Returns:
        One result per post, in order.
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
    """Return the width of each modality, from the first post that has it.

    Args:
        names: Modalities.
        results: Tensors of the posts.
    """
    width_by_modality: dict[str, int] = {}
    for name in names:
        shapes = (i.tensors[name].shape for i in results if name in i.tensors)
        if (shape := next(shapes, None)) is not None:
            width_by_modality[name] = int(shape[1])
    return width_by_modality


def load_features(
    posts: Sequence[Post], root: Path, name: str, results: Sequence[ModalityInputs]
) -> None:
    """Add the feature tensors of one modality to `results`.

    A path outside `root`, an unreadable file or tensor and values that are not finite are a problem
    of the post alone.

    Args:
        posts: Posts with media.
        root: Media root.
        name: Modality.
        results: Results to extend, one per post.
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
    # Opening a pipe would block, and a folder cannot be opened.
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
        problem = f"{key} has values that are not finite"
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
    """Add the features of each post's first image to `results`.

    An image that is rejected is a problem of its post. Posts with the same image share one tensor.

    Args:
        posts: Posts with media.
        root: Media root.
        results: Results to extend, one per post.
        extractor: Replacement for the packaged encoder.

    Raises:
        UserError: The package of weights is missing, or the cache folder is not writable.
    """
    in_memory: dict[str, torch.Tensor] = {}
    for post, post_inputs in zip(posts, results, strict=True):
        media = next((m for m in post.media if m.kind == "image"), None)
        if media is None:
            continue
        extractor = extractor or packaged_extractor(base.cache_folder())
        try:
            post_inputs.tensors[IMAGE_MODALITY] = extractor.extract(media, root, in_memory)
        except ImageError as problem:
            post_inputs.problems[IMAGE_MODALITY] = f"{problem.kind}: {problem.path[:200]}"


@functools.cache
def packaged_extractor(cache: Path) -> "ImageFeatureExtractor":
    """Load the packaged encoder once; its features are stored below `cache`."""
    encoder = base.load_efficientnet(base.EFFICIENTNET_LITE0.require(), GRID)
    return ImageFeatureExtractor(encoder, cache / "image_features")


class ImageFeatureExtractor:
    """A frozen image encoder with a disk cache that several processes may share."""

    def __init__(self, encoder: "EfficientNetLite", folder: Path) -> None:
        """Wrap an encoder in evaluation mode.

        Args:
            encoder: Image encoder, not changed.
            folder: Cache folder, created by the first write.

        Raises:
            UserError: `GEN_MSA_CACHE_GB` is not a number.
        """
        import transformers  # needed for images only

        from gen_msa.encoders.vision.efficientnet_lite import image_processor

        self.cache = LruDiskCache(folder, max_cache_bytes())
        self.computed = 0
        """Images that were encoded, not read from the cache."""
        self._encoder = encoder
        self._processor = image_processor(encoder.config)
        self._lock = threading.Lock()
        weights = {k: v.contiguous() for k, v in encoder.state_dict().items()}
        self._key_fields = {
            "encoder": hashlib.sha256(dumps(weights)).hexdigest(),
            "settings": encoder.config.to_json_string(),
            "pixels": self._processor.to_json_string(),
            "limits": _LIMITS.model_dump_json(),
            "transformers": transformers.__version__,
        }

    def extract(self, media: Media, root: Path, in_memory: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the features of an image, (steps, width).

        Args:
            media: Image of a post.
            root: Media root.
            in_memory: Features by hash of the image, extended by this call.

        Raises:
            ImageError: The image is rejected.
            UserError: The features cannot be stored.
        """
        preemption_point()
        with self._lock:
            sha = digest(media, root, _LIMITS)
            features = self._lookup(sha, in_memory)
            if features is None:
                image = open_image(media, root, _LIMITS)
                # The hash of a fetched image is known only now.
                sha = image.sha256
                features = self._lookup(sha, in_memory)
                features = self._compute(image) if features is None else features
            in_memory[sha] = features
            return features

    def file_name(self, sha: str) -> str:
        """Return the file name of an image's features; `sha` is the hash of its bytes."""
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
            features = self._encoder(pixels).last_hidden_state[0].half().contiguous()
        stored = {
            IMAGE_MODALITY: features,
            "sha256": torch.tensor(list(_features_sha256(features)), dtype=torch.uint8),
        }
        hint = "set GEN_MSA_CACHE to a writable folder"
        with write_errors(
            f"features of images in {self.cache.folder}", "cannot be stored", hint=hint
        ):
            self.cache.put(self.file_name(image.sha256), dumps(stored))
        self.computed += 1
        return features.float()


def _features_sha256(features: torch.Tensor) -> bytes:
    return hashlib.sha256(features.numpy().tobytes()).digest()
