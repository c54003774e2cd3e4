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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as loads
from safetensors.torch import save as dumps

from gen_msa import ledger
from gen_msa.chat import Picture
from gen_msa.errors import UserError
from gen_msa.media import PictureLimits, PictureProblem, admit, digest, load
from gen_msa.media.paths import inside
from gen_msa.towers import packaged
from gen_msa.towers.shelf import Shelf, bound
from gen_msa.types import Media, Post

if TYPE_CHECKING:
    from gen_msa.towers.efficientnet_lite import Tower

WORDS = ("text", "context")
"""Modalities that are made of words: never a matter of this file."""
NAME = "picture"
GRID = 4
"""A picture is GRID x GRID steps."""
_LIMITS = PictureLimits()
_log = logging.getLogger("gen_msa.students")


@dataclass(frozen=True)
class Inputs:
    """Of one post."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    """Modality -> (steps, width), float32; one that the post has not is missing."""
    problems: dict[str, str] = field(default_factory=dict)
    """Modality -> why something that the post names could not be read."""


def inputs(posts: Sequence[Post], root: Path, names: Sequence[str]) -> list[Inputs]:
    """For each post, in order, what it has of the modalities `names`; words are passed over.

    Nothing below `root` is opened that a path leads out of. A file that cannot be read is a
    problem of its post alone.
    """
    wanted = [n for n in names if n not in WORDS]
    found = [Inputs() for _ in posts]
    for name in wanted:
        if name == NAME:
            look(posts, root, found)
        else:
            read(posts, root, name, found)
    return found


def widths(names: Sequence[str], found: Sequence[Inputs]) -> dict[str, int]:
    """Modality -> width of its features, from the first post that has it."""
    told: dict[str, int] = {}
    for name in names:
        shapes = (i.tensors[name].shape for i in found if name in i.tensors)
        if (shape := next(shapes, None)) is not None:
            told[name] = int(shape[1])
    return told


def read(posts: Sequence[Post], root: Path, name: str, found: Sequence[Inputs]) -> None:
    """Add to `found[i]` the features `name` of `posts[i]`, where it has any.

    A path that leads out of `root`, a file or tensor that cannot be read, and numbers that are not
    finite are a problem of the post alone.
    """
    wanted: dict[str, list[tuple[int, str]]] = {}
    for i, post in enumerate(posts):
        if (media := _of(post, name)) is not None:
            wanted.setdefault(media.path, []).append((i, media.key or ""))
    for path, places in wanted.items():
        try:
            opened = _opened(path, root)
        except (PictureProblem, SafetensorError, OSError) as e:
            for i, _ in places:
                found[i].problems[name] = f"{path}: {e}"
            continue
        with opened as file:
            for i, key in places:
                _add(file, key, found[i], name, path)


def _of(post: Post, name: str) -> Media | None:
    mine = (
        m
        for m in post.media
        if m.kind == "features" and m.key is not None and m.key.partition("/")[0] == name
    )
    return next(mine, None)


def _opened(path: str, root: Path) -> Any:
    real = inside(path, root)
    # A pipe would be waited for, and a folder is no file.
    if not real.is_file():
        raise FileNotFoundError("there is no such file")
    return safe_open(real, framework="pt")


def _add(file: Any, key: str, into: Inputs, name: str, path: str) -> None:
    try:
        tensor = file.get_tensor(key)
    except SafetensorError as e:
        into.problems[name] = f"{path}: {e}"
        return
    tensor = tensor.unsqueeze(0) if tensor.ndim == 1 else tensor
    why = ""
    if tensor.ndim != 2 or not tensor.numel():
        why = f"{key} is {' x '.join(map(str, tensor.shape))}, not steps x width"
    elif tensor.is_complex() or not torch.isfinite(tensor.float()).all():
        why = f"{key} holds what is no finite number"
    if why:
        into.problems[name] = f"{path}: {why}"
    else:
        into.tensors[name] = tensor.to(torch.float32, copy=True)


def look(
    posts: Sequence[Post], root: Path, found: Sequence[Inputs], eyes: "Eyes | None" = None
) -> None:
    """Add to `found[i]` the features of the first picture of `posts[i]`, if it has one.

    A picture that is not let in, or cannot be read, is a problem of its post. `eyes`: others than
    the packaged ones. Posts of one picture share one tensor. Raises `UserError` when the package
    of weights is missing, or the cache folder cannot be written.
    """
    seen: dict[str, torch.Tensor] = {}
    for post, into in zip(posts, found, strict=True):
        media = next((m for m in post.media if m.kind == "image"), None)
        if media is None:
            continue
        eyes = eyes or packaged_eyes(packaged.cache_folder())
        try:
            into.tensors[NAME] = eyes.see(media, root, seen)
        except PictureProblem as problem:
            into.problems[NAME] = str(problem)


@functools.cache
def packaged_eyes(cache: Path) -> "Eyes":
    """The packaged tower, loaded once; what it sees is kept below `cache`."""
    tower = packaged.efficientnet(packaged.VISION.needed(), GRID)
    return Eyes(tower, cache / "pictures")


class Eyes:
    """A frozen tower and what it said, in a folder that several processes may share."""

    def __init__(self, tower: "Tower", folder: Path) -> None:
        """`tower`: in evaluation mode, as it stays; `folder` is made when first written to.

        Raises `UserError` where its bound is no number.
        """
        import transformers  # only who looks at pictures needs it

        from gen_msa.towers.efficientnet_lite import image_processor

        self.shelf = Shelf(folder, bound())
        self.made = 0
        """Pictures that were shown to the tower, not recalled."""
        self._tower = tower
        self._pixels = image_processor(tower.config)
        self._lock = threading.Lock()
        weights = {k: v.contiguous() for k, v in tower.state_dict().items()}
        self._base = {
            "tower": hashlib.sha256(dumps(weights)).hexdigest(),
            "settings": tower.config.to_json_string(),
            "pixels": self._pixels.to_json_string(),
            "limits": _LIMITS.model_dump_json(),
            "transformers": transformers.__version__,
        }

    def see(self, media: Media, root: Path, seen: dict[str, torch.Tensor]) -> torch.Tensor:
        """Features of a picture, (steps, width); `seen` holds, by hash, those at hand already.

        Raises `PictureProblem`, and `UserError` when they cannot be kept.
        """
        with self._lock:
            sha = digest(media, root, _LIMITS)
            said = self._known(sha, seen)
            if said is None:
                picture = admit(media, root, _LIMITS)
                # What comes by an address is known by its bytes only now.
                sha = picture.sha256
                said = self._known(sha, seen)
                said = self._shown(picture) if said is None else said
            seen[sha] = said
            return said

    def name(self, sha: str) -> str:
        """The file of a picture's features; `sha` is the hash of the picture's bytes."""
        return f"{ledger.key({**self._base, 'picture': sha})}.safetensors"

    def _known(self, sha: str, seen: dict[str, torch.Tensor]) -> torch.Tensor | None:
        return seen[sha] if sha in seen else self._recalled(sha)

    def _recalled(self, sha: str) -> torch.Tensor | None:
        name = self.name(sha)
        try:
            data = self.shelf.get(name)
            if data is None:
                return None
            kept = loads(data)
            features, told = kept[NAME], bytes(kept["sha256"].tolist())
            if _hash(features) != told:
                raise ValueError("its contents are not what was written")
        except (SafetensorError, OSError, KeyError, ValueError) as e:
            _log.warning("%s is spoilt and made again: %s", self.shelf.path(name), e)
            return None
        return features.float()

    def _shown(self, picture: Picture) -> torch.Tensor:
        pixels = self._pixels(load(picture), return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            said = self._tower(pixels).last_hidden_state[0].half().contiguous()
        kept = {NAME: said, "sha256": torch.tensor(list(_hash(said)), dtype=torch.uint8)}
        try:
            self.shelf.put(self.name(picture.sha256), dumps(kept))
        except OSError as e:
            raise UserError(
                f"features of pictures cannot be kept in {self.shelf.folder}: {e}",
                mend="set GEN_MSA_CACHE to a folder that can be written",
            ) from None
        self.made += 1
        return said.float()


def _hash(features: torch.Tensor) -> bytes:
    return hashlib.sha256(features.numpy().tobytes()).digest()
