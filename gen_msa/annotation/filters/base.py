"""The protocol of filters, their inputs, and the registry.

filters["length"].stage        # "text"
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from pydantic import JsonValue

from gen_msa.predictors import Prediction
from gen_msa.registry import Registry
from gen_msa.settings import Settings
from gen_msa.types import Opinion, Post

Stage = Literal["text", "model", "file"]
"""`text`: checks each answer alone. `model`: runs a model, and so checks only what passed all text
filters. `file`: compares an answer with earlier ones of the file, last.
"""

SampleFn = Callable[[Sequence[Post], int], list[Prediction]]
"""Further answers of the teacher about posts, sampled with a seed derived from the number."""


@dataclass(frozen=True)
class Candidate:
    """One complete answer, and the post that it is about."""

    post: Post
    opinion: Opinion

    @property
    def explanation(self) -> str:
        """The explanation, stripped; "" if there is none."""
        return (self.opinion.explanation or "").strip()


@dataclass(frozen=True)
class FilterContext:
    """What a filter may use."""

    media_root: Path
    """Folder that image paths are relative to."""
    sample: SampleFn | None = None
    """None: the teacher cannot sample."""


class Filter(Protocol):
    """Rejects answers."""

    stage: ClassVar[Stage]

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Check answers.

        Args:
            rows: The answers.

        Returns:
            For each answer, in order, one line on why it is rejected, or None if it passes.
        """
        ...

    def fingerprint(self) -> JsonValue:
        """Return what changes its verdicts besides its options (files, models, rules)."""
        ...


class FilterFactory(Protocol):
    """What a module of this package registers: a class with its options."""

    Options: type[Settings]
    stage: Stage

    def __call__(self, options: Any, context: FilterContext) -> Filter:
        """Build the filter.

        Args:
            options: An instance of `Options`.
            context: What it may use.

        Raises:
            UserError: The filter cannot work in this context.
        """
        ...


NO_EXPLANATION = "it gives no explanation"

filters: Registry[FilterFactory] = Registry(
    "filter", "gen_msa.annotation.filters", "gen_msa.filters"
)
