"""Interfaces of students: examples, batches, outputs, protocols, and the registry of architectures.

Loads no torch.

    student = models["text"](InputDims(width={"text": 30522}))
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
"""Meaning of the columns of a student's logits."""


@dataclass(frozen=True)
class AspectExample:
    """An aspect of a text, and, for training, its label or teacher probabilities."""

    id: str
    """Name of the row in error messages: `POST/INDEX`."""
    text: str
    aspect: Aspect
    target: Polarity | None = None
    """None: no label; teacher probabilities may still be present."""
    teacher_probs: tuple[float, ...] = ()
    """Mean probability of teachers for each of `CLASSES`; empty when there is no teacher."""
    weight: float = 1.0
    """Weight of the row in the training loss; above 0."""
    inputs: "Mapping[str, Tensor]" = field(default_factory=dict)
    """Modality -> (steps, width) of features; a modality that the post lacks is missing."""
    context: str = ""
    """Text from cue sources, used only by models that take it as an input."""


@dataclass(frozen=True)
class Batch:
    """Rows as tensors. Padding (`mask`) and absence (`present`) are represented separately."""

    ids: tuple[str, ...]
    inputs: "Mapping[str, Tensor]"
    """Modality -> (rows, steps) of token ids, or (rows, steps, width) of features."""
    mask: "Mapping[str, Tensor]"
    """Modality -> (rows, steps), True for a real step and False for padding.

    `aspect` marks the steps of `text` that belong to the aspect.
    """
    present: "Mapping[str, Tensor]"
    """Modality -> (rows,), False where the post does not have the modality at all."""
    target: "Tensor | None"
    """(rows,) index into `CLASSES`, -1 for a row without a label; None when no row has one."""
    texts: tuple[str, ...]
    teacher_probs: "Tensor | None" = None
    """(rows, classes) of teacher probabilities, zeros for rows without; None when no row has."""
    weight: "Tensor | None" = None
    """(rows,) weight of each row; None when all are equal."""

    def to(self, device: Any) -> "Batch":
        """Return a copy with every tensor on `device`."""

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
    """What a student computes for a batch."""

    logits: "Tensor"
    """(rows, classes)."""
    features: "Mapping[str, Tensor]" = field(default_factory=dict)
    """Name -> tensor, rows first: what distillation may compare between models."""
    losses: "Mapping[str, Tensor]" = field(default_factory=dict)
    """Name -> scalar that an architecture adds to the label loss in training.

    Each is a mean over rows, so that several processes may share the rows of a batch.
    """


@dataclass(frozen=True)
class InputDims:
    """Sizes of a student that the data decides; everything else is its config."""

    width: Mapping[str, int]
    """Modality -> vocabulary size (text, context) or width of its features."""
    classes: int = len(CLASSES)


class Model(Protocol):
    """A `torch.nn.Module` that classifies batches."""

    input_dims: InputDims
    config: Mapping[str, Any]
    """Every keyword argument of the constructor with its value; plain JSON."""
    modalities: tuple[str, ...]
    """Modalities that it reads. A model that reads `context` is a teacher, never used alone."""

    def __call__(self, batch: Batch) -> Output:
        """Compute logits for each row, independent of its neighbours and of padding.

        Args:
            batch: Rows on the model's device.

        Returns:
            Logits (rows, classes), features, and in training the model's own losses.
        """
        ...

    def load_pretrained(self) -> str:
        """Load pretrained weights from an installed package.

        Returns:
            Requirement of the package; "" when the architecture has no pretrained weights.

        Raises:
            UserError: The package is missing, or its weights have another shape.
        """
        ...


@dataclass(frozen=True)
class Phase:
    """One update of a training step: the parameters it changes and the loss it minimizes."""

    name: str
    """Each phase has its own optimizer and schedule; a recipe may set its learning rate."""
    param_prefixes: tuple[str, ...] = ("",)
    """Prefixes of the names of the parameters it updates; all others stay fixed."""
    loss: str = ""
    """Name in `Output.losses`, minimized alone and in this phase only.

    "": the recipe's losses and all of `Output.losses` that no phase claims.
    """


@runtime_checkable
class MultiPhase(Protocol):
    """A student that trains in stages, or with several optimizers in turn. Optional."""

    def phases(self, epoch: int) -> Sequence[Phase]:
        """Return the updates of every step of an epoch, in order; each runs its own forward.

        The result must not change between calls. A parameter that no phase of a run updates is an
        error.

        Args:
            epoch: Epoch, from 0.
        """
        ...


@runtime_checkable
class HasRowMemory(Protocol):
    """A student that stores values for each row from epoch to epoch. Optional."""

    memory: "dict[str, Tensor]"
    """`Batch.ids` -> values of the row. A checkpoint stores it, a student's folder does not.

    Inference must not need it.
    """

    def on_step_end(self, batch: Batch, output: Output, epoch: int) -> None:
        """Update the memory after a training step. Nothing else may change `memory`.

        Args:
            batch: All rows of the step.
            output: Result of the last forward, without gradients and `losses`.
            epoch: Epoch, from 0.
        """
        ...


class ModelClass(Protocol):
    """The class that a module of this package registers."""

    def __call__(self, input_dims: InputDims, *none: Any, **config: Any) -> Model:
        """Build a model with new weights.

        Args:
            input_dims: Sizes that the data decides.
            none: Always empty; mypy accepts a class with its own keyword arguments only beside it.
            config: Hyperparameters of the architecture, with the paper's values as defaults.
        """
        ...


class CollateFn(Protocol):
    """Turns rows into batches; stored in the student's folder beside its weights."""

    def __call__(self, rows: Sequence[AspectExample]) -> Batch:
        """Return the rows in their order, padded to the longest."""
        ...


models: Registry[ModelClass] = Registry("student", "gen_msa.models", "gen_msa.models")
