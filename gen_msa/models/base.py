"""What a student is, what goes in and comes out of it, and the registry of students.

Knows no student, and loads no torch.

    student = students["text"](Sizes(width={"text": 30522}))
    student(batch).logits        # (rows, 3)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from gen_msa.registry import Registry
from gen_msa.types import Aspect, Polarity

if TYPE_CHECKING:
    from torch import Tensor


CLASSES = tuple(Polarity)
"""What the columns of a student's logits mean."""


@dataclass(frozen=True)
class AspectExample:
    """One question: an aspect of a text, and, to learn from, what is to be said of it."""

    id: str
    """How it is named when something is wrong with it: `POST/PLACE`."""
    text: str
    aspect: Aspect
    target: Polarity | None = None
    """None: there is no label to learn; a teacher's probabilities may still be there."""
    teacher_probs: tuple[float, ...] = ()
    """The probability that teachers give each of `CLASSES`; empty when none spoke."""
    weight: float = 1.0
    """How much the row counts among those it is learned with; above 0."""
    inputs: "Mapping[str, Tensor]" = field(default_factory=dict)
    """Modality -> (steps, width) of features; one that is missing is absent from the post."""
    context: str = ""
    """What is known besides the post. Only who `reads` it, or was trained to, is shown it."""


@dataclass(frozen=True)
class Batch:
    """Rows as tensors. Padding and absence are different facts, and are told apart."""

    ids: tuple[str, ...]
    inputs: "Mapping[str, Tensor]"
    """Modality -> (rows, steps) of token numbers, or (rows, steps, width) of features."""
    mask: "Mapping[str, Tensor]"
    """Modality -> (rows, steps), True where a step is real and False where it is padding.

    `aspect` marks the steps of `text` at which the aspect stands.
    """
    present: "Mapping[str, Tensor]"
    """Modality -> (rows,), False where the post has no such thing at all."""
    target: "Tensor | None"
    """(rows,) index into `CLASSES`, -1 where a row has no label; None when no row has one."""
    texts: tuple[str, ...]
    teacher_probs: "Tensor | None" = None
    """(rows, classes) of teachers' probabilities, zeros where none spoke; None when no row has."""
    weight: "Tensor | None" = None
    """(rows,) how much each counts; None when all count alike."""

    def to(self, device: Any) -> "Batch":
        """The same with every tensor on `device`."""

        def move(tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
            return {name: tensor.to(device) for name, tensor in tensors.items()}

        return replace(
            self,
            inputs=move(self.inputs),
            mask=move(self.mask),
            present=move(self.present),
            target=None if self.target is None else self.target.to(device),
            teacher_probs=None if self.teacher_probs is None else self.teacher_probs.to(device),
            weight=None if self.weight is None else self.weight.to(device),
        )


@dataclass(frozen=True)
class Output:
    """What a student makes of a batch."""

    logits: "Tensor"
    """(rows, classes)."""
    features: "Mapping[str, Tensor]" = field(default_factory=dict)
    """What a teacher's or another student's may be held against, by name; rows come first."""
    losses: "Mapping[str, Tensor]" = field(default_factory=dict)
    """Scalars, by name, that a system adds to the loss of its labels while it is trained.

    Each is a mean over rows, so that several processes may share the rows of a batch.
    """


@dataclass(frozen=True)
class InputDims:
    """What the data decides about a student; all else is its own numbers."""

    width: Mapping[str, int]
    """Modality -> size of its vocabulary (text) or width of its features."""
    classes: int = len(CLASSES)


class Model(Protocol):
    """A `torch.nn.Module` that reads batches."""

    input_dims: InputDims
    config: Mapping[str, Any]
    """Every keyword that its constructor was given or assumed; plain JSON."""
    modalities: tuple[str, ...]
    """The modalities that it looks at. Who reads `context` is a teacher, and never reads alone."""

    def __call__(self, batch: Batch) -> Output:
        """Logits for each row; the same for a row whatever its neighbours and its padding."""
        ...

    def load_pretrained(self) -> str:
        """Take over pretrained weights that lie on this machine; says which, "" for none.

        Raises `UserError` when a package of weights is missing.
        """
        ...


@dataclass(frozen=True)
class Phase:
    """One update of a step: which tensors it moves, and what it makes small."""

    name: str
    """Has its own optimiser and schedule, and may have its own rate in a recipe."""
    param_prefixes: tuple[str, ...] = ("",)
    """How the names of the parameters begin that it moves; all others stand still."""
    loss: str = ""
    """A name of `Output.losses`, alone and in this phase only; "": the recipe's losses and
    all of `Output.losses` that no phase has for itself."""


@runtime_checkable
class MultiPhase(Protocol):
    """A student that trains in stages, or with several optimisers in turn. Optional."""

    def phases(self, epoch: int) -> Sequence[Phase]:
        """The updates of every step of an epoch (from 0), in order; each has its own forward.

        The same whenever it is asked. A parameter that no phase of a run moves is an error.
        """
        ...


@runtime_checkable
class HasRowMemory(Protocol):
    """A student that keeps something of each row from epoch to epoch. Optional."""

    memory: "dict[str, Tensor]"
    """`Batch.ids` -> what is known of the row. A checkpoint keeps it, a student's folder does not:
    reading must not need it."""

    def on_step_end(self, batch: Batch, output: Output, epoch: int) -> None:
        """Called after every step with all its rows, and what the last forward made of them.

        `said` has no gradients and no `losses`. Nobody else is to change `memory`.
        """
        ...


class ModelClass(Protocol):
    """What a module of this room registers: its class."""

    def __call__(self, input_dims: InputDims, *none: Any, **config: Any) -> Model:
        """Make one with new weights; `numbers` are the paper's, with the paper's defaults.

        `none` is always empty; mypy takes a class with keywords of its own only beside it.
        """
        ...


class CollateFn(Protocol):
    """Makes batches for a student; kept in its folder beside its weights."""

    def __call__(self, rows: Sequence[AspectExample]) -> Batch:
        """The rows in their order, padded to the longest."""
        ...


models: Registry[ModelClass] = Registry("student", "gen_msa.models", "gen_msa.models")
