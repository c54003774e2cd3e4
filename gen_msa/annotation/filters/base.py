"""What a gate is, what it is shown, and the registry of gates.

Knows no gate.

    gates["length"].stage        # "text"
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
"""`words`: looks at every answer by itself. `asks`: has models read, so it is shown only what all
gates of words let pass. `file`: holds an answer against those before it in the file, last."""

SampleFn = Callable[[Sequence[Post], int], list[Prediction]]
"""The teacher's answers about posts, drawn with a seed of the gate's own choice."""


@dataclass(frozen=True)
class Candidate:
    """One answer that could be read, and the whole post it is about."""

    post: Post
    opinion: Opinion

    @property
    def explanation(self) -> str:
        """The explanation, stripped; "" where none is given."""
        return (self.opinion.explanation or "").strip()


@dataclass(frozen=True)
class FilterContext:
    """What a gate may work with."""

    media_root: Path
    sample: SampleFn | None = None
    """None: this teacher says the same every time."""


class Filter(Protocol):
    """Refuses answers."""

    stage: ClassVar[Stage]

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """For each answer, in order, why it is refused (one line), or None: it passes."""
        ...

    def fingerprint(self) -> JsonValue:
        """Changes whenever its verdicts could, besides its options (files and models it uses)."""
        ...


class FilterFactory(Protocol):
    """What a module of this room registers: a class with its options."""

    Options: type[Settings]
    stage: Stage

    def __call__(self, options: Any, context: FilterContext) -> Filter:
        """Make the gate. Raises `UserError` where it cannot do its work on this bench."""
        ...


NO_EXPLANATION = "it gives no reason"

filters: Registry[FilterFactory] = Registry(
    "filter", "gen_msa.annotation.filters", "gen_msa.filters"
)
