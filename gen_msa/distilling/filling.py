"""What rows carry besides words and labels: contexts from cues, and features of other modalities.

Knows nothing of labels or of who learns.

    filled([(row, 0)], [post], root, Asked(reads=("text", "picture")), Counter())
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gen_msa.students import AspectExample
from gen_msa.students.common.contexts import build_contexts
from gen_msa.students.common.inputs import load_modalities
from gen_msa.types import Aspect, Post

IndexedRow = tuple[AspectExample, int]
"""A row and the number of its post."""


@dataclass(frozen=True)
class RequiredInputs:
    """What a student, and its teacher, want to be shown."""

    modalities: tuple[str, ...] = ("text",)
    """Modalities."""
    cues: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Cue sources that write the context."""


def add_inputs(
    rows: Sequence[IndexedRow], posts: Sequence[Post], root: Path, required: RequiredInputs, problems: Counter[str]
) -> list[IndexedRow]:
    """The rows with what `asked` wants; `told` counts what could not be read."""
    post_indices = sorted({post_index for _, post_index in rows})
    post_inputs = load_modalities([posts[i] for i in post_indices], root, required.modalities)
    for item in post_inputs:
        problems.update(f"{name} that cannot be read" for name in item.problems)
    by_post = dict(zip(post_indices, post_inputs, strict=True))
    texts = _contexts(rows, posts, root, required)
    return [
        (replace(r, inputs=by_post[i].tensors, context=texts.get((i, r.aspect), "")), i)
        for r, i in rows
    ]


def _contexts(
    rows: Sequence[IndexedRow], posts: Sequence[Post], root: Path, required: RequiredInputs
) -> dict[tuple[int, Aspect], str]:
    if not required.cues:
        return {}
    aspects_by_post: dict[int, dict[Aspect, None]] = {}
    for row, post_index in rows:
        aspects_by_post.setdefault(post_index, {})[row.aspect] = None
    posts_with_aspects = [posts[i].model_copy(update={"aspects": tuple(a)}) for i, a in aspects_by_post.items()]
    return {
        (post_index, aspect): text
        for (post_index, aspects), lines in zip(
            aspects_by_post.items(), build_contexts(posts_with_aspects, required.cues, root), strict=True
        )
        for aspect, text in zip(aspects, lines, strict=True)
    }
