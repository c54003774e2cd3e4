"""What a gate is, what it is shown, and the registry of gates.

Knows no gate.

    gates["length"].stage        # "words"
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from pydantic import JsonValue

from gen_msa.readers import Reading
from gen_msa.registry import Registry
from gen_msa.settings import Settings
from gen_msa.types import Opinion, Post

Stage = Literal["words", "asks", "file"]
"""`words`: looks at every answer by itself. `asks`: has models read, so it is shown only what all
gates of words let pass. `file`: holds an answer against those before it in the file, last."""

Sample = Callable[[Sequence[Post], int], list[Reading]]
"""The teacher's answers about posts, drawn with a seed of the gate's own choice."""


@dataclass(frozen=True)
class Candidate:
    """One answer that could be read, and the whole post it is about."""

    post: Post
    said: Opinion

    @property
    def reason(self) -> str:
        """The explanation, stripped; "" where none is given."""
        return (self.said.explanation or "").strip()


@dataclass(frozen=True)
class Bench:
    """What a gate may work with."""

    media_root: Path
    sample: Sample | None = None
    """None: this teacher says the same every time."""


class Gate(Protocol):
    """Refuses answers."""

    stage: ClassVar[Stage]

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """For each answer, in order, why it is refused (one line), or None: it passes."""
        ...

    def fingerprint(self) -> JsonValue:
        """Changes whenever its verdicts could, besides its options (files and models it uses)."""
        ...


class GateKind(Protocol):
    """What a module of this room registers: a class with its options."""

    Options: type[Settings]
    stage: Stage

    def __call__(self, options: Any, bench: Bench) -> Gate:
        """Make the gate. Raises `UserError` where it cannot do its work on this bench."""
        ...


NO_REASON = "it gives no reason"

gates: Registry[GateKind] = Registry("gate", "gen_msa.annotating.gates", "gen_msa.gates")
