"""What a source of reasons is, and the registry of sources.

Knows no source.

    reasons["minigpt4"]("twitter2015").reasons(examples)
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from gen_msa.registry import Registry
from gen_msa.types import Example


class RationaleSource(Protocol):
    """Explains labels."""

    def rationales(self, examples: Sequence[Example]) -> list[tuple[str | None, ...]]:
        """For each example, and each of its opinions, a reason on one line; None for no reason.

        Every opinion has a polarity. Nothing but the post and the opinion's aspect and polarity
        is to be looked at, except where the source says so.
        """
        ...


@runtime_checkable
class BindableSource(Protocol):
    """A source that is told what other readers said of the examples."""

    def bind(self, examples: Sequence[Example]) -> RationaleSource:
        """The source for these examples, whole; it is then asked about them in this order."""
        ...


class RationaleSourceFactory(Protocol):
    """What a module of this room registers; `target` is what follows the colon, or ""."""

    def __call__(self, target: str) -> RationaleSource | BindableSource:
        """Make the source. Raises `UserError` for a target that it cannot use."""
        ...


rationale_sources: Registry[RationaleSourceFactory] = Registry(
    "rationale source", "gen_msa.finetuning.rationales", "gen_msa.rationales"
)
