"""A reader that repeats what a file says: `file:opinions.jsonl`, or `file:opinions.jsonl#teacher`.

With `#NAME` only that reader's opinions count; without it the file must hold one reader besides
`gold`. A post or an aspect the file is silent about becomes an opinion with status `empty`, never a
guess. Knows nothing of models.

    gen-msa explain posts.jsonl --reader file:teacher.jsonl
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue, ValidationError

from gen_msa import jsonl
from gen_msa.errors import UserError
from gen_msa.readers.base import Reader, ReaderSettings, Reading, Shown, readers
from gen_msa.types import WHOLE_POST, Aspect, Example, Opinion, Post, Status


class Recorded:
    """Opinions looked up by post id; they stay on disk, only their places are held."""

    def __init__(self, path: Path, by: str, name: str) -> None:
        self._path = path
        self._name = name
        self._places: dict[str, int] = {}
        self._unread = ""
        self._by = self._index(by)

    def read(self, posts: Sequence[Post]) -> list[Reading]:
        """The recorded opinions about each post, in the order of its aspects."""
        return [self._reading(post) for post in posts]

    def preview(self, posts: Sequence[Post]) -> list[Shown]:
        """Nothing: a file is asked nothing."""
        return []

    def fingerprint(self) -> dict[str, JsonValue]:
        """The file's sha256 and the reader repeated."""
        with self._path.open("rb") as f:
            digest = hashlib.file_digest(f, "sha256").hexdigest()
        return {"file": digest, "by": self._by, "name": self._name}

    def _index(self, wanted: str) -> str:
        """Note where each post's line starts; return whose opinions are repeated."""
        readers_seen: set[str] = set()
        unread: list[str] = []
        offset = 0
        with self._path.open("rb") as f:
            for number, line in enumerate(f, 1):
                if line.strip():
                    try:
                        example = Example.model_validate_json(line)
                    except ValidationError as e:
                        unread.append(f"line {number}: {jsonl.reason_of(e)}")
                    else:
                        self._place(example.post.id, offset, number)
                        readers_seen |= {o.by for o in example.opinions}
                offset += len(line)
        if unread:
            self._unread = f" ({len(unread)} lines could not be read; {unread[0]})"
        return self._whose(wanted, readers_seen)

    def _place(self, post_id: str, offset: int, number: int) -> None:
        if self._places.setdefault(post_id, offset) != offset:
            raise UserError(
                f"{self._path}:{number}: post {post_id!r} stands there a second time",
                mend="keep one line a post",
            )

    def _whose(self, wanted: str, found: set[str]) -> str:
        if wanted and wanted in found:
            return wanted
        others = sorted(found - {"gold"})
        if not wanted and len(others) == 1:
            return others[0]
        names = ", ".join(sorted(found)) or "nobody"
        mend = f"write file:{self._path}#NAME with one of them"
        raise UserError(f"{self._path} holds opinions by {names}", mend=mend)

    def _reading(self, post: Post) -> Reading:
        offset = self._places.get(post.id)
        if offset is None:
            return self._silent(post, f"no row for this post in {self._path}{self._unread}")
        with self._path.open("rb") as f:
            f.seek(offset)
            example = Example.model_validate_json(f.readline())
        if example.post.text != post.text:
            why = f"{self._path} has another text under the id {post.id!r}"
            return Reading(refused=why, mend="use the file made from these posts")
        said = [o.model_copy(update={"by": self._name}) for o in example.said_by(self._by)]
        by_aspect = {o.aspect: o for o in said}
        if len(by_aspect) != len(said):
            why = f"{self._path} has two opinions of {self._by} on one aspect of {post.id!r}"
            return Reading(refused=why, mend="keep one of them")
        if not post.aspects:
            return Reading(tuple(said)) if said else self._silent(post, "no opinion on this post")
        why = "no opinion on this aspect"
        return Reading(tuple(by_aspect.get(a) or self._empty(a, why) for a in post.aspects))

    def _silent(self, post: Post, why: str) -> Reading:
        return Reading(tuple(self._empty(a, why) for a in post.aspects or (WHOLE_POST,)))

    def _empty(self, aspect: Aspect, why: str) -> Opinion:
        return Opinion(by=self._name, aspect=aspect, status=Status.EMPTY, how={"recorded": why})


@readers.register
def make(target: str, settings: ReaderSettings, media_root: Path) -> Reader:
    """The opinions recorded in a JSONL file of examples."""
    name, _, by = target.partition("#")
    path = Path(name)
    if not path.is_file():
        raise UserError(f"no file {name!r} to repeat opinions from", mend="write file:PATH[#NAME]")
    return Recorded(path, by, settings.reader)
