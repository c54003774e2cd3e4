"""The sentiment and the reason that MiniGPT-4 once gave for Twitter-2015/2017, repeated.

`minigpt4:twitter2015:dev` reads the rationales of one split (`GEN_MSA_DATA`). The label is what the
rationale says after `Sentiment:`, or the only label it names; one that says none, or two, is
`unparsed`. Its gold label is never looked at. The reason is kept whole, without that line and
without the translation that follows some; `raw` has all. An aspect that the record is silent about
is `empty`. A recorded reader tunes nothing, so a test split may be repeated. Knows nothing of
models.

    gen-msa explain twitter2015:dev --reader minigpt4:twitter2015:dev
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from gen_msa import manifest
from gen_msa.data.minigpt4 import (
    LEAD,
    Key,
    declared,
    folder_of,
    rationale,
    rationales,
    untranslated,
)
from gen_msa.errors import UserError
from gen_msa.readers.base import Reader, ReaderSettings, Reading, Shown, readers
from gen_msa.types import WHOLE_POST, Aspect, Opinion, Post, Status


class MiniGpt4:
    """Rationales looked up by text, target and picture."""

    def __init__(self, table: Mapping[Key, str], name: str, digest: str) -> None:
        """`table`: what was recorded; `name`: the reader's; `digest`: sha256 of the file."""
        self._table = table
        self._name = name
        self._digest = digest

    def read(self, posts: Sequence[Post]) -> list[Reading]:
        """An opinion for each aspect of each post, or for the post as a whole, which is empty."""
        return [
            Reading(tuple(self._opinion(p, a) for a in p.aspects or (WHOLE_POST,))) for p in posts
        ]

    def preview(self, posts: Sequence[Post]) -> list[Shown]:
        """Nothing: a file is asked nothing."""
        return []

    def fingerprint(self) -> dict[str, JsonValue]:
        """The file's sha256 and the reader's name."""
        return {"file": self._digest, "name": self._name}

    def _opinion(self, post: Post, aspect: Aspect) -> Opinion:
        said = rationale(self._table, post, aspect)
        empty = Opinion(by=self._name, aspect=aspect, status=Status.EMPTY)
        if said is None:
            how = {"recorded": "no rationale for this text, target and picture"}
            return empty.model_copy(update={"how": how})
        if not said.strip():
            return empty.model_copy(update={"raw": said})
        polarity = declared(said)
        return Opinion(
            by=self._name,
            aspect=aspect,
            polarity=polarity,
            explanation=LEAD.sub("", untranslated(said).strip(), count=1).strip() or None,
            raw=said,
            status=Status.OK if polarity else Status.UNPARSED,
        )


@readers.register
def make(target: str, settings: ReaderSettings, media_root: Path) -> Reader:
    """The rationales of `CORPUS:SPLIT`."""
    name, _, split = target.partition(":")
    folder = folder_of(name)
    known = sorted(p.stem for p in folder.glob("*.json"))
    if not re.fullmatch(r"\w+", split) or split not in known:
        mend = ", ".join(f"minigpt4:{name}:{s}" for s in known) or "look into GEN_MSA_DATA"
        raise UserError(f"no rationales of the split {split!r} of {name}", mend=mend)
    digest = manifest.sha256(folder / f"{split}.json")
    return MiniGpt4(rationales(folder, [split]), settings.reader, digest)
