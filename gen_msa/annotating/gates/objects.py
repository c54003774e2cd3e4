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

from gen_msa.annotating.gates._pairing import as_metric_pair, image_descriptions, build_cue_sources
from gen_msa.annotating.gates._things import OBJECT_OF_WORD, OBJECTS_OF_WORD
from gen_msa.annotating.gates.base import NO_EXPLANATION, FilterContext, Candidate, Stage, filters
from gen_msa.metrics.explained import split_words
from gen_msa.metrics.grounding import extract_claims
from gen_msa.settings import Settings

_SOURCES: dict[str, dict[str, Any]] = {"objects": {}, "context": {}}


class ObjectsFilterOptions(Settings):
    """Who says what a picture shows, and how much else may be named."""

    sources: dict[str, dict[str, Any]] = Field(default_factory=lambda: dict(_SOURCES))
    """Cue sources (`objects`, `context`) with their options."""
    max_unsupported: int = Field(default=0, ge=0)
    """Things that may be named and are not there."""


@filters.register
class ObjectsFilter:
    """Holds the things of a reason against those of cues."""

    Options: ClassVar[type[Settings]] = ObjectsFilterOptions
    stage: ClassVar[Stage] = "words"

    def __init__(self, options: ObjectsFilterOptions, context: FilterContext) -> None:
        self._max_unsupported = options.max_unsupported
        self._sources = build_cue_sources("objects", options.sources, context)

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Refuses a reason that names more than `most` things that are not there."""
        image_texts = image_descriptions(self._sources, rows)
        return [self._verdict(row, image_text) for row, image_text in zip(rows, image_texts, strict=True)]

    def fingerprint(self) -> JsonValue:
        """Of the sources, the bytes of their files included."""
        return [source.fingerprint() for source in self._sources]

    def _verdict(self, row: Candidate, image_text: str) -> str | None:
        if not row.explanation:
            return NO_EXPLANATION
        present = _named_objects(f"{row.post.text}\n{image_text}")
        all_claims = extract_claims(as_metric_pair(row, {"context": image_text}))
        named_words = [w for c in all_claims if not c.in_text and not c.in_image for w in split_words(c.text)]
        absent = dict.fromkeys(w for w in named_words if w in OBJECT_OF_WORD and OBJECT_OF_WORD[w] not in present)
        if len(absent) <= self._max_unsupported:
            return None
        return f"nothing shows: {', '.join(absent)}"


def _named_objects(text: str) -> set[str]:
    return set().union(*(OBJECTS_OF_WORD.get(w, set()) for w in split_words(text)))
