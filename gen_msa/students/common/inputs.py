"""What a student reads of posts besides their words: a tensor of features for each modality.

`picture` is a post's first picture as a frozen tower sees it (`looking`); any other modality is its
media of kind `features` whose key is the modality's name or begins with it (`features`). Knows
nothing of students, rows or training.

    inputs(posts, Path("pictures"), ("picture",))[0].tensors["picture"].shape      # (16, 1280)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gen_msa.types import Post

if TYPE_CHECKING:
    from torch import Tensor

WORDS = ("text", "context")
"""Modalities that are made of words: never a matter of this file."""


@dataclass(frozen=True)
class Inputs:
    """Of one post."""

    tensors: "dict[str, Tensor]" = field(default_factory=dict)
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
        if name == "picture":
            from gen_msa.students.common.looking import look

            look(posts, root, found)
        else:
            from gen_msa.students.common.features import read

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
