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
from gen_msa.readers._asked import select_aspects
from gen_msa.readers.base import PredictorSettings, Prediction
from gen_msa.students import AspectExample
from gen_msa.types import Post

if TYPE_CHECKING:
    from gen_msa.students.common.keeping import StudentConfig

_HINT = "mend the file, or read without it: bad_picture=text-only"


@dataclass(frozen=True)
class StudentInputs:
    """Rows of posts, those of one post side by side."""

    posts: tuple[Post, ...]
    """With the aspects that are asked about; those that were set aside with none."""
    rows: tuple[AspectExample, ...]
    provenance: tuple[dict[str, str], ...]
    """Of each row what must be said with its answer."""
    rejected: Mapping[int, Prediction]
    """Place of a post -> why it was set aside."""


def build_student_inputs(posts: Sequence[Post], student_config: "StudentConfig", settings: PredictorSettings, root: Path) -> StudentInputs:
    """One row for each aspect. A bad picture or feature is named, refused or fatal as
    `settings.bad_picture` says. Raises `UserError` for cues that the student does not know.
    """
    selections = select_aspects(posts, settings)
    selected_posts = [
        p.model_copy(update={"aspects": selection.aspects}) for p, selection in zip(posts, selections, strict=True)
    ]
    tensors, input_notes, rejected = _load_features(selected_posts, student_config, settings, root)
    for i in rejected:
        selected_posts[i] = selected_posts[i].model_copy(update={"aspects": ()})
    context_texts = _context_texts(selected_posts, context_cues(student_config, settings), root)
    rows, provenance = [], []
    for i, (post, selection) in enumerate(zip(selected_posts, selections, strict=True)):
        for n, aspect in enumerate(post.aspects):
            row = AspectExample(f"{post.id}/{n}", post.text, aspect, inputs=tensors[i], context=context_texts[i][n])
            rows.append(row)
            provenance.append({"aspect_source": selection.source, **input_notes[i]})
    return StudentInputs(tuple(selected_posts), tuple(rows), tuple(provenance), rejected)


def context_cues(student_config: "StudentConfig", settings: PredictorSettings) -> Mapping[str, Mapping[str, Any]]:
    """The cue sources that write the context: the student's own, or yours where you override.

    Raises `UserError` for others than it was trained with, without `adapter_settings=override`.
    """
    if settings.cues is None or settings.cues == student_config.cues or not student_config.cues:
        return student_config.cues
    if settings.adapter_settings != "override":
        raise UserError(
            f"this student was trained with the cues {', '.join(student_config.cues)}, set otherwise",
            hint="leave cues out, or add adapter_settings=override",
        )
    return settings.cues


def _context_texts(
    posts: Sequence[Post], cue_options: Mapping[str, Mapping[str, Any]], root: Path
) -> list[tuple[str, ...]]:
    if not cue_options:
        return [("",) * len(p.aspects) for p in posts]
    from gen_msa.students.common.contexts import build_contexts

    return build_contexts(posts, cue_options, root)


def _unused_media(post: Post, names: Sequence[str]) -> dict[str, str]:
    """What of a post the student was made without."""
    kinds = {"picture" if m.kind == "image" else m.key or m.kind for m in post.media}
    return dict.fromkeys(sorted(kinds - set(names)), "not looked at by this student")


def _load_features(
    posts: Sequence[Post], student_config: "StudentConfig", settings: PredictorSettings, root: Path
) -> tuple[list[dict[str, Any]], list[dict[str, str]], dict[int, Prediction]]:
    """For each post its tensors and what must be said of them; the posts that are set aside."""
    names = [m for m in student_config.width if m not in ("text", "context")]
    input_notes = [_unused_media(post, names) for post in posts]
    rejected: dict[int, Prediction] = {}
    if "picture" in names and not settings.images:
        names.remove("picture")
        input_notes = [{**note, "picture": "not shown"} for note in input_notes]
    if not names:
        return [{} for _ in posts], input_notes, rejected
    from gen_msa.students.common.inputs import load_modalities

    loaded = load_modalities(posts, root, names)
    for i, (post, features) in enumerate(zip(posts, loaded, strict=True)):
        for name, problem in features.problems.items():
            if settings.bad_image == "fail":
                raise UserError(f"post {post.id!r}: {name}: {problem}", hint=_HINT)
            if settings.bad_image == "drop":
                rejected[i] = Prediction(rejection=f"{name}: {problem}", hint=_HINT)
            input_notes[i][name] = f"{problem}; read without"
    return [dict(features.tensors) for features in loaded], input_notes, rejected
