"""What a cue source is, and the registry of cue sources.

Knows no source.

    source = cues["syntax"](cues["syntax"].Options(k=2))
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


class CueFactory(Protocol):
    """What a module of this room registers: a class with its options."""

    Options: type[Settings]

    def __call__(self, options: Any) -> CueSource:
        """Make the source; loads nothing heavy yet."""
        ...


cue_sources: Registry[CueFactory] = Registry("cue", "gen_msa.cues", "gen_msa.cues")
