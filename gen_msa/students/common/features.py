"""Features that a post carries as tensors of a safetensors file: sound, film, or anything measured.

A post's features of a modality are its first media of kind `features` whose key is the modality's
name, or begins with it and a stroke where one file has those of many posts: `audio`, `audio/17`. A
tensor is (steps, width), or (width) for a single step, of any kind of number. Every file is opened
once. Knows nothing of what was measured.

    read(posts, Path("features"), "audio", found)      # found[i].tensors["audio"]: float32
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from gen_msa.media import PictureProblem
from gen_msa.media.paths import inside
from gen_msa.students.common.inputs import Inputs
from gen_msa.types import Media, Post


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
