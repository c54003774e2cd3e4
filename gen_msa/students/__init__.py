"""Students: compact models that say a polarity and run anywhere. A published system is a file here.

Their protocol stands here: a `Batch` of any modalities goes in, an `Output` comes out, and one loop
trains them all. `common/` has what they share: rows made into batches, folders written and read.
Knows nothing of posts' files, teachers or training.

    student = students["text"](Sizes(width={"text": 30522}), layers=2, width=64, heads=4)
    student(batch).logits        # (rows, 3): negative, neutral, positive
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from gen_msa.registry import Registry
from gen_msa.types import Aspect, Polarity

if TYPE_CHECKING:
    from torch import Tensor

CLASSES = tuple(Polarity)
"""What the columns of a student's logits mean."""


@dataclass(frozen=True)
class Row:
    """One question: an aspect of a text, and, to learn from, what is to be said of it."""

    id: str
    """How it is named when something is wrong with it: `POST/PLACE`."""
    text: str
    aspect: Aspect
    target: Polarity | None = None


@dataclass(frozen=True)
class Batch:
    """Rows as tensors. Padding and absence are different facts, and are told apart."""

    ids: tuple[str, ...]
    x: "Mapping[str, Tensor]"
    """Modality -> (rows, steps) of token numbers, or (rows, steps, width) of features."""
    mask: "Mapping[str, Tensor]"
    """Modality -> (rows, steps), True where a step is real and False where it is padding.

    `aspect` marks the steps of `text` at which the aspect stands.
    """
    present: "Mapping[str, Tensor]"
    """Modality -> (rows,), False where the post has no such thing at all."""
    target: "Tensor | None"
    """(rows,) index into `CLASSES`; None when there is nothing to learn from."""
    raw_text: tuple[str, ...]


@dataclass(frozen=True)
class Output:
    """What a student makes of a batch."""

    logits: "Tensor"
    """(rows, classes)."""
    features: "Mapping[str, Tensor]" = field(default_factory=dict)
    """What a teacher's or another student's may be held against, by name."""
    losses: "Mapping[str, Tensor]" = field(default_factory=dict)
    """Scalars, by name, that a system adds to the loss of its labels while it is trained."""


@dataclass(frozen=True)
class Sizes:
    """What the data decides about a student; all else is its own numbers."""

    width: Mapping[str, int]
    """Modality -> size of its vocabulary (text) or width of its features."""
    classes: int = len(CLASSES)


class Student(Protocol):
    """A `torch.nn.Module` that reads batches."""

    sizes: Sizes
    numbers: Mapping[str, Any]
    """Every keyword that its constructor was given or assumed; plain JSON."""
    reads: tuple[str, ...]
    """The modalities that it looks at."""

    def __call__(self, batch: Batch) -> Output:
        """Logits for each row; the same for a row whatever its neighbours and its padding."""
        ...

    def warm_up(self) -> str:
        """Take over pretrained weights that lie on this machine; says which, "" for none.

        Raises `UserError` when a package of weights is missing.
        """
        ...


class StudentKind(Protocol):
    """What a module of this room registers: its class."""

    def __call__(self, sizes: Sizes, *none: Any, **numbers: Any) -> Student:
        """Make one with new weights; `numbers` are the paper's, with the paper's defaults.

        `none` is always empty; mypy takes a class with keywords of its own only beside it.
        """
        ...


class Collate(Protocol):
    """Makes batches for a student; kept in its folder beside its weights."""

    def __call__(self, rows: Sequence[Row]) -> Batch:
        """The rows in their order, padded to the longest."""
        ...


students: Registry[StudentKind] = Registry("student", __name__, "gen_msa.students")
