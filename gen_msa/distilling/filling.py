"""What rows carry besides words and labels: contexts from cues, and features of other modalities.

Knows nothing of labels or of who learns.

    filled([(row, 0)], [post], root, Asked(reads=("text", "picture")), Counter())
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gen_msa.students import Row
from gen_msa.students.common.contexts import contexts
from gen_msa.students.common.inputs import inputs
from gen_msa.types import Aspect, Post

Placed = tuple[Row, int]
"""A row and the number of its post."""


@dataclass(frozen=True)
class Asked:
    """What a student, and its teacher, want to be shown."""

    reads: tuple[str, ...] = ("text",)
    """Modalities."""
    cues: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Cue sources that write the context."""


def filled(
    rows: Sequence[Placed], posts: Sequence[Post], root: Path, asked: Asked, told: Counter[str]
) -> list[Placed]:
    """The rows with what `asked` wants; `told` counts what could not be read."""
    wanted = sorted({place for _, place in rows})
    found = inputs([posts[i] for i in wanted], root, asked.reads)
    for one in found:
        told.update(f"{name} that cannot be read" for name in one.problems)
    by_place = dict(zip(wanted, found, strict=True))
    texts = _contexts(rows, posts, root, asked)
    return [
        (replace(r, inputs=by_place[i].tensors, context=texts.get((i, r.aspect), "")), i)
        for r, i in rows
    ]


def _contexts(
    rows: Sequence[Placed], posts: Sequence[Post], root: Path, asked: Asked
) -> dict[tuple[int, Aspect], str]:
    if not asked.cues:
        return {}
    about: dict[int, dict[Aspect, None]] = {}
    for row, place in rows:
        about.setdefault(place, {})[row.aspect] = None
    shown = [posts[i].model_copy(update={"aspects": tuple(a)}) for i, a in about.items()]
    return {
        (place, aspect): text
        for (place, aspects), lines in zip(
            about.items(), contexts(shown, asked.cues, root), strict=True
        )
        for aspect, text in zip(aspects, lines, strict=True)
    }
