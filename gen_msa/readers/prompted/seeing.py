"""From posts to what a reader is to be asked about: pictures admitted, aspects found.

The first step of a prompted reader. Knows nothing of prompts, cues or backends' answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gen_msa import media
from gen_msa.chat import ImageInput
from gen_msa.errors import UserError
from gen_msa.readers.base import PredictorSettings
from gen_msa.types import OVERALL_ASPECT, Aspect, Post

Task = Literal["aspect", "aspects", "overall"]


class PostRejected(Exception):
    """This one post cannot be read under the settings; the others can."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


@dataclass(frozen=True)
class StudentInputs:
    """A post with its admitted pictures, the task it calls for, and what must be said with it."""

    row: int
    post: Post
    images: tuple[ImageInput, ...] = ()
    task: Task = "aspect"
    provenance: Mapping[str, str] = field(default_factory=dict)


def load_inputs(row: int, post: Post, root: Path, settings: PredictorSettings) -> StudentInputs:
    """Admit a post's pictures. A bad one is named in `how`, refused or fatal, as settings say."""
    images: list[ImageInput] = []
    provenance: dict[str, str] = {}
    for media_item in post.media:
        if media_item.kind != "image":
            provenance[media_item.kind] = "not shown"
            continue
        try:
            image = media.open_image(media_item, root, settings.image)
        except media.ImageError as error:
            if settings.bad_image == "fail":
                raise UserError(f"post {post.id!r}: {error}") from None
            if settings.bad_image == "drop":
                raise PostRejected(f"picture {media_item.path}: {error.reason}", error.hint) from None
            provenance["picture"] = f"{error.kind}: {media_item.path[:200]}; read from text"
        else:
            images.append(image)
            provenance |= media.conversion_notes(image)
    return StudentInputs(row, post, tuple(images), provenance=provenance)


def assign_aspects(
    inputs: Sequence[StudentInputs], settings: PredictorSettings, *, lists_aspects: bool
) -> list[StudentInputs]:
    """Decide for each post what it is asked about, and say in `aspect_source` who decided.

    `lists_aspects`: whether the reader is strong enough to be asked for the aspects itself.
    """
    sources = [_aspect_source(post_inputs.post, settings, lists_aspects) for post_inputs in inputs]
    to_parse = [post_inputs.post for post_inputs, source in zip(inputs, sources, strict=True) if source == "parse"]
    candidates = iter(_parse_candidates(to_parse))
    return [
        _apply_aspects(post_inputs, source, next(candidates) if source == "parse" else post_inputs.post.aspects)
        for post_inputs, source in zip(inputs, sources, strict=True)
    ]


def _aspect_source(post: Post, settings: PredictorSettings, lists_aspects: bool) -> str:
    if settings.aspects != "auto":
        return settings.aspects
    if post.aspects:
        return "given"
    return "reader" if lists_aspects else "parse"


def _apply_aspects(inputs: StudentInputs, source: str, aspects: tuple[Aspect, ...]) -> StudentInputs:
    if source == "reader":
        return replace(inputs, task="aspects", how={**inputs.provenance, "aspect_source": "reader"})
    if source == "overall" or not aspects or aspects == (OVERALL_ASPECT,):
        # An asked-for overall reading and a post without any aspect are different facts.
        aspect_source = source if source == "overall" or aspects else f"overall: {source} found none"
        post = inputs.post.model_copy(update={"aspects": (OVERALL_ASPECT,)})
        return replace(inputs, post=post, task="overall", how={**inputs.provenance, "aspect_source": aspect_source})
    post = inputs.post.model_copy(update={"aspects": aspects})
    return replace(inputs, post=post, how={**inputs.provenance, "aspect_source": source})


def _parse_candidates(posts: list[Post]) -> list[tuple[Aspect, ...]]:
    if not posts:
        return []
    from gen_msa.cues.parsing import aspect_candidates

    return aspect_candidates(posts)
