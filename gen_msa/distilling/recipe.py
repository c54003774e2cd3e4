"""A recipe: everything that decides the training of a student, as frozen settings from one YAML.

Names are Hugging Face's own where Hugging Face owns the thing. Knows nothing of models or tensors.
The merged recipe is written beside the student (`recipe.yaml`).

    load("text", ["learning_rate=3e-5", "seed=1"])
"""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, field_validator

from gen_msa import settings, shipped
from gen_msa.data._splits import is_test
from gen_msa.settings import Settings
from gen_msa.types import Polarity


class Data(Settings):
    """One source of examples, and whose word is to be learned."""

    source: str
    """`DATASET:SPLIT` or a file of examples; a split named test is refused."""
    labels: str = "gold"
    """Whose opinions are learned: `Opinion.by`."""
    limit: int | None = Field(default=None, gt=0)
    """Take only this many rows, chosen by the seed."""


class Recipe(Settings):
    """The training of one student."""

    student: str = "text"
    """A name of `gen_msa.students`."""
    numbers: dict[str, Any] = Field(default_factory=dict)
    """The student's own, where they are not to be its defaults."""
    warm: bool = True
    """Begin with the pretrained weights that the student knows of; else with new ones."""
    output_dir: str
    data: tuple[Data, ...] = Field(min_length=1)
    dev: tuple[Data, ...] = ()
    """Read at every evaluation; the student that is kept is chosen by them."""

    text: Literal["post", "reason"] = "post"
    """What the student reads: the post, or the opinion's explanation alone."""
    mask_labels: bool = False
    """Hide the words positive, negative and neutral from it, then and ever after."""
    max_length: int = Field(default=128, ge=8)
    """Tokens of text and aspect; a longer text loses its end, and such rows are counted."""

    per_device_train_batch_size: int = Field(default=32, gt=0)
    num_train_epochs: int = Field(default=4, gt=0)
    learning_rate: float = Field(default=5e-5, gt=0)
    head_learning_rate: float | None = Field(default=None, gt=0)
    """Of the layers that begin new in a warm student; None: as all others."""
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    """Share of all steps in which the rate rises; it falls in a line to 0 after that."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: dict[Polarity, float] | Literal["balanced", "none"] = "none"
    """Weight of a row by its class; `balanced` = inverse frequency in the training rows."""
    seed: int = 0

    logging_steps: int = Field(default=20, gt=0)
    eval_steps: int = Field(default=0, ge=0)
    """Optimiser steps between evaluations; 0 for once an epoch."""

    @field_validator("data", "dev")
    @classmethod
    def _never_a_test_split(cls, found: tuple[Data, ...]) -> tuple[Data, ...]:
        for one in found:
            if is_test(one.source):
                raise ValueError(f"{one.source}: a test split is never read while tuning")
        return found


def load(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe called `name` in `finetune/distill/`, or your own YAML, with overrides on top.

    Raises `UserError` naming an unknown key and the nearest known one.
    """
    path = shipped.shipped("finetune/distill", name, ".yaml")
    return settings.load(Recipe, path, overrides)


def names() -> list[str]:
    """Every shipped recipe."""
    return shipped.names("finetune/distill", ".yaml")
