"""Cues: one hint an aspect, one prompt slot a source. A cue source is a file here.

Knows nothing of prompts' words or of models that read them. Each source fills the slot it names; a
source that stands in for another (window for syntax) fills the same slot and says so in
`Cue.source`.

    source = cues["syntax"](cues["syntax"].Options(k=2))
    source.cues(posts)          # for each post, one Cue for each of its aspects
"""

from collections.abc import Sequence
from typing import Any, Protocol

from gen_msa.registry import Registry
from gen_msa.settings import Settings
from gen_msa.types import Cue, Post


class CueSource(Protocol):
    """Writes one cue for each aspect of each post."""

    slot: str
    """The prompt slot it fills."""

    def cues(self, posts: Sequence[Post]) -> list[tuple[Cue, ...]]:
        """For each post, in order, one `Cue` for each of `post.aspects`, in order.

        A cue that has nothing to say has `text=""`.
        """
        ...

    def fingerprint(self) -> str:
        """Changes whenever its cues could: options, parser name and version, hash of files read."""
        ...


class CueKind(Protocol):
    """What a module of this room registers: a class with its options."""

    Options: type[Settings]

    def __call__(self, options: Any) -> CueSource:
        """Make the source; loads nothing heavy yet."""
        ...


cues: Registry[CueKind] = Registry("cue", __name__, "gen_msa.cues")
