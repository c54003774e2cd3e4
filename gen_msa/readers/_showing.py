"""What a student is shown of posts: rows with the contexts and features that it was trained with.

Knows nothing of who reads them.

    shown = show(posts, kept, settings, Path("pictures"))
    shown.rows[0].inputs["picture"]
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen_msa.errors import UserError
from gen_msa.readers._asked import asked
from gen_msa.readers.base import ReaderSettings, Reading
from gen_msa.students import Row
from gen_msa.types import Post

if TYPE_CHECKING:
    from gen_msa.students.common.keeping import Kept

_MEND = "mend the file, or read without it: bad_picture=text-only"


@dataclass(frozen=True)
class Shown:
    """Rows of posts, those of one post side by side."""

    posts: tuple[Post, ...]
    """With the aspects that are asked about; those that were set aside with none."""
    rows: tuple[Row, ...]
    how: tuple[dict[str, str], ...]
    """Of each row what must be said with its answer."""
    refused: Mapping[int, Reading]
    """Place of a post -> why it was set aside."""


def show(posts: Sequence[Post], kept: "Kept", settings: ReaderSettings, root: Path) -> Shown:
    """One row for each aspect. A bad picture or feature is named, refused or fatal as
    `settings.bad_picture` says. Raises `UserError` for cues that the student does not know.
    """
    questions = asked(posts, settings)
    about = [
        p.model_copy(update={"aspects": q.aspects}) for p, q in zip(posts, questions, strict=True)
    ]
    tensors, said, refused = _features(about, kept, settings, root)
    for i in refused:
        about[i] = about[i].model_copy(update={"aspects": ()})
    texts = _contexts(about, cues(kept, settings), root)
    rows, how = [], []
    for i, (post, q) in enumerate(zip(about, questions, strict=True)):
        for n, aspect in enumerate(post.aspects):
            row = Row(f"{post.id}/{n}", post.text, aspect, inputs=tensors[i], context=texts[i][n])
            rows.append(row)
            how.append({"aspect_source": q.source, **said[i]})
    return Shown(tuple(about), tuple(rows), tuple(how), refused)


def cues(kept: "Kept", settings: ReaderSettings) -> Mapping[str, Mapping[str, Any]]:
    """The cue sources that write the context: the student's own, or yours where you override.

    Raises `UserError` for others than it was trained with, without `adapter_settings=override`.
    """
    if settings.cues is None or settings.cues == kept.cues or not kept.cues:
        return kept.cues
    if settings.adapter_settings != "override":
        raise UserError(
            f"this student was trained with the cues {', '.join(kept.cues)}, set otherwise",
            mend="leave cues out, or add adapter_settings=override",
        )
    return settings.cues


def _contexts(
    posts: Sequence[Post], asked_cues: Mapping[str, Mapping[str, Any]], root: Path
) -> list[tuple[str, ...]]:
    if not asked_cues:
        return [("",) * len(p.aspects) for p in posts]
    from gen_msa.students.common.contexts import contexts

    return contexts(posts, asked_cues, root)


def _not_looked_at(post: Post, names: Sequence[str]) -> dict[str, str]:
    """What of a post the student was made without."""
    kinds = {"picture" if m.kind == "image" else m.key or m.kind for m in post.media}
    return dict.fromkeys(sorted(kinds - set(names)), "not looked at by this student")


def _features(
    posts: Sequence[Post], kept: "Kept", settings: ReaderSettings, root: Path
) -> tuple[list[dict[str, Any]], list[dict[str, str]], dict[int, Reading]]:
    """For each post its tensors and what must be said of them; the posts that are set aside."""
    names = [m for m in kept.width if m not in ("text", "context")]
    how = [_not_looked_at(post, names) for post in posts]
    refused: dict[int, Reading] = {}
    if "picture" in names and not settings.pictures:
        names.remove("picture")
        how = [{**said, "picture": "not shown"} for said in how]
    if not names:
        return [{} for _ in posts], how, refused
    from gen_msa.students.common.inputs import inputs

    found = inputs(posts, root, names)
    for i, (post, one) in enumerate(zip(posts, found, strict=True)):
        for name, why in one.problems.items():
            if settings.bad_picture == "fail":
                raise UserError(f"post {post.id!r}: {name}: {why}", mend=_MEND)
            if settings.bad_picture == "drop":
                refused[i] = Reading(refused=f"{name}: {why}", mend=_MEND)
            how[i][name] = f"{why}; read without"
    return [dict(one.tensors) for one in found], how, refused
