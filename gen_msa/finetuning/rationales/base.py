"""Interfaces of rationale sources, and their registry.

rationale_sources["minigpt4"]("twitter2015").rationales(examples)
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from gen_msa.registry import Registry
from gen_msa.types import Example


class RationaleSource(Protocol):
    """Explains labels."""

    def rationales(self, examples: Sequence[Example]) -> list[tuple[str | None, ...]]:
        """Return, for each example and each of its opinions, a one-line rationale or None.

        Every opinion has a polarity. A source uses only the post and the opinion's aspect and
        polarity, unless it says otherwise.
        """
        ...


@runtime_checkable
class BindableSource(Protocol):
    """A source that uses the opinions of other annotators on the examples."""

    def bind(self, examples: Sequence[Example]) -> RationaleSource:
        """Return the source for these examples; it is then called with them, in this order."""
        ...


class RationaleSourceFactory(Protocol):
    """What a source module registers."""

    def __call__(self, target: str) -> RationaleSource | BindableSource:
        """Create the source.

        Args:
            target: What follows the colon, or "".

        Raises:
            UserError: If the target is invalid.
        """
        ...


rationale_sources: Registry[RationaleSourceFactory] = Registry(
    "rationale source", "gen_msa.finetuning.rationales", "gen_msa.rationales"
)
