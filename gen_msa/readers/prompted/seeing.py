"""From posts to what a reader is to be asked about: pictures admitted, aspects found.

The first step of a prompted reader. Knows nothing of prompts, cues or backends' answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gen_msa import media
from gen_msa.chat import Picture
from gen_msa.errors import UserError
from gen_msa.readers.base import ReaderSettings
from gen_msa.types import WHOLE_POST, Aspect, Post

Task = Literal["aspect", "aspects", "overall"]


class PostRefused(Exception):
    """This one post cannot be read under the settings; the others can."""

    def __init__(self, reason: str, mend: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.mend = mend


@dataclass(frozen=True)
class Seen:
    """A post with its admitted pictures, the task it calls for, and what must be said with it."""

    row: int
    post: Post
    pictures: tuple[Picture, ...] = ()
    task: Task = "aspect"
    how: Mapping[str, str] = field(default_factory=dict)


def see(row: int, post: Post, root: Path, settings: ReaderSettings) -> Seen:
    """Admit a post's pictures. A bad one is named in `how`, refused or fatal, as settings say."""
    admitted: list[Picture] = []
    how: dict[str, str] = {}
    for m in post.media:
        if m.kind != "image":
            how[m.kind] = "not shown"
            continue
        try:
            picture = media.admit(m, root, settings.picture)
        except media.PictureProblem as problem:
            if settings.bad_picture == "fail":
                raise UserError(f"post {post.id!r}: {problem}") from None
            if settings.bad_picture == "drop":
                raise PostRefused(f"picture {m.path}: {problem.reason}", problem.mend) from None
            how["picture"] = f"{problem.kind}: {m.path[:200]}; read from text"
        else:
            admitted.append(picture)
            how |= media.notes(picture)
    return Seen(row, post, tuple(admitted), how=how)


def with_aspects(
    seen: Sequence[Seen], settings: ReaderSettings, *, lists_aspects: bool
) -> list[Seen]:
    """Decide for each post what it is asked about, and say in `aspect_source` who decided.

    `lists_aspects`: whether the reader is strong enough to be asked for the aspects itself.
    """
    source = [_source(s.post, settings, lists_aspects) for s in seen]
    lost = [s.post for s, of in zip(seen, source, strict=True) if of == "parse"]
    found = iter(_candidates(lost))
    return [
        _with(s, of, next(found) if of == "parse" else s.post.aspects)
        for s, of in zip(seen, source, strict=True)
    ]


def _source(post: Post, settings: ReaderSettings, lists_aspects: bool) -> str:
    if settings.aspects != "auto":
        return settings.aspects
    if post.aspects:
        return "given"
    return "reader" if lists_aspects else "parse"


def _with(seen: Seen, source: str, aspects: tuple[Aspect, ...]) -> Seen:
    if source == "reader":
        return replace(seen, task="aspects", how={**seen.how, "aspect_source": "reader"})
    if source == "overall" or not aspects or aspects == (WHOLE_POST,):
        # An asked-for overall reading and a post without any aspect are different facts.
        why = source if source == "overall" or aspects else f"overall: {source} found none"
        post = seen.post.model_copy(update={"aspects": (WHOLE_POST,)})
        return replace(seen, post=post, task="overall", how={**seen.how, "aspect_source": why})
    post = seen.post.model_copy(update={"aspects": aspects})
    return replace(seen, post=post, how={**seen.how, "aspect_source": source})


def _candidates(posts: list[Post]) -> list[tuple[Aspect, ...]]:
    if not posts:
        return []
    from gen_msa.cues.parsing import candidates

    return candidates(posts)
