"""Objects: what a reason names in the picture is there, by what others saw in it.

A thing is named where a content word of the reason (as the metric `grounding` takes claims apart)
is on the list of things (`_things`); it is there where the post's text, or the words that a
detector or caption gives of the picture, name that thing by any word. A picture that nobody
described supports nothing. Close to CHAIR (Rohrbach et al. 2018). English; knows nothing of things
off the list, of colours, or of where a thing is.

    gates={objects: {sources: {context: {files: [captions.json]}}}}
    gates={objects: {sources: {objects: {file: detected.json}}, most: 1}}
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from gen_msa.annotating.gates._pairing import paired, seen_by, sources_of
from gen_msa.annotating.gates._things import CLAIMS, SHOWS
from gen_msa.annotating.gates.base import NO_REASON, Bench, Candidate, Stage, gates
from gen_msa.metrics.explained import words
from gen_msa.metrics.grounding import claims
from gen_msa.settings import Settings

_SOURCES: dict[str, dict[str, Any]] = {"objects": {}, "context": {}}


class ObjectsOptions(Settings):
    """Who says what a picture shows, and how much else may be named."""

    sources: dict[str, dict[str, Any]] = Field(default_factory=lambda: dict(_SOURCES))
    """Cue sources (`objects`, `context`) with their options."""
    most: int = Field(default=0, ge=0)
    """Things that may be named and are not there."""


@gates.register
class Objects:
    """Holds the things of a reason against those of cues."""

    Options: ClassVar[type[Settings]] = ObjectsOptions
    stage: ClassVar[Stage] = "words"

    def __init__(self, options: ObjectsOptions, bench: Bench) -> None:
        self._most = options.most
        self._sources = sources_of("objects", options.sources, bench)

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Refuses a reason that names more than `most` things that are not there."""
        seen = seen_by(self._sources, rows)
        return [self._verdict(row, text) for row, text in zip(rows, seen, strict=True)]

    def fingerprint(self) -> JsonValue:
        """Of the sources, the bytes of their files included."""
        return [source.fingerprint() for source in self._sources]

    def _verdict(self, row: Candidate, seen: str) -> str | None:
        if not row.reason:
            return NO_REASON
        there = _things(f"{row.post.text}\n{seen}")
        found = claims(paired(row, {"context": seen}))
        named = [w for c in found if not c.in_text and not c.in_picture for w in words(c.words)]
        absent = dict.fromkeys(w for w in named if w in CLAIMS and CLAIMS[w] not in there)
        if len(absent) <= self._most:
            return None
        return f"nothing shows: {', '.join(absent)}"


def _things(text: str) -> set[str]:
    return set().union(*(SHOWS.get(w, set()) for w in words(text)))
