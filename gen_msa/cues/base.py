"""The interface of cue sources, and their registry.

source = cue_sources["syntax"](cue_sources["syntax"].Options(k=2))
"""

from collections.abc import Sequence
from typing import Any, Protocol

from gen_msa.registry import Registry
from gen_msa.settings import Settings
from gen_msa.types import Cue, Post


class CueSource(Protocol):
    """Computes one cue for each aspect of each post."""

    slot: str
    """The prompt slot of its cues."""

    def cues(self, posts: Sequence[Post]) -> list[tuple[Cue, ...]]:
        """Return, for each post in order, one `Cue` for each of `post.aspects` in order.

        An empty cue has `text=""`.
        """
        ...

    def fingerprint(self) -> str:
        """Return a hash of all that the cues depend on: options, parser version, files."""
        ...


class CueFactory(Protocol):
    """The registered class of a cue source, with its options."""

    Options: type[Settings]

    def __call__(self, options: Any) -> CueSource:
        """Create the source without loading models or files."""
        ...


cue_sources: Registry[CueFactory] = Registry("cue", "gen_msa.cues", "gen_msa.cues")
