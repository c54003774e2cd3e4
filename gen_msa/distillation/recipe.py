"""A recipe: everything that decides the training of a student, as frozen settings from one YAML.

Names are Hugging Face's own where Hugging Face owns the thing. Knows nothing of models or tensors.
The merged recipe is written beside the student (`recipe.yaml`).

    load("text", ["learning_rate=3e-5", "seed=1"])
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from gen_msa import resources, settings
from gen_msa.data.splits import is_test_split
from gen_msa.settings import Settings
from gen_msa.types import Polarity


class DistillData(Settings):
    """One source of examples, and whose word is to be learned."""

    source: str
    """`DATASET:SPLIT` or a file of examples; a split named test is refused."""
    labels: str = "gold"
    """Whose opinions are learned: `Opinion.by`; empty: nobody's, the teachers alone are."""
    teachers: tuple[str, ...] = ()
    """Files of opinions on these posts, `FILE.jsonl` or `FILE.jsonl#NAME`: an ensemble, whose
    probabilities are averaged, each aspect's over those that speak of it."""
    weight: float = Field(default=1.0, gt=0)
    """How much a row counts beside those of other sources."""
    confidence: float = Field(default=0.0, ge=0)
    """Rows count by the teachers' highest probability to this power; 0: all alike."""
    filters: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    """Gate -> weight of an answer by `labels` that it refused (several: the product; not named: 0),
    from the `.rejected.jsonl` beside `source`. Empty: refused answers are not learned."""
    limit: int | None = Field(default=None, gt=0)
    """Take only this many rows, chosen by the seed."""


class DistillLossConfig(Settings):
    """What is made small, as a weighted sum; each is the mean over rows (by `Row.weight`)."""

    label: float = Field(default=1.0, ge=0)
    """Cross-entropy with the labels (nats)."""
    distill_kl: float = Field(default=0.0, ge=0)
    """Kullback-Leibler divergence from the teachers' probabilities, times temperature squared
    (Hinton et al. 2015)."""
    temperature: float = Field(default=1.0, gt=0)
    feature_l1: dict[str, float] = Field(default_factory=dict)
    """Name of `Output.features` -> weight of its mean absolute difference from the teacher's:
    attention maps, fused tokens. Needs `teacher`."""


class DistillRecipe(Settings):
    """The training of one student."""

    student: str = "text"
    """A name of `gen_msa.models`."""
    config: dict[str, Any] = Field(default_factory=dict)
    """The student's own, where they are not to be its defaults."""
    pretrained: bool = True
    """Begin with the pretrained weights that the student knows of; else with new ones."""
    output_dir: str
    data: tuple[DistillData, ...] = Field(min_length=1)
    dev: tuple[DistillData, ...] = ()
    """Read at every evaluation; the student that is kept is chosen by them."""

    teacher: str = ""
    """The folder of a student that teaches this one: its probabilities (where a row has none) and
    its features. It reads the same rows, in eval mode, and is never changed."""
    losses: DistillLossConfig = DistillLossConfig()
    cross_fit_folds: int = Field(default=0, ge=0)
    """Cross-fitting, from 2: as many helpers are trained, each without a share of the posts, and
    what each says of the posts it has not seen is written to `crossfit.jsonl`: labels of a teacher
    that has not learned them by heart."""
    cues: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Cue sources that write the context of a row. A student that does not read `context` by itself
    has it at the end of its text, in training and ever after."""

    text: Literal["post", "explanation"] = "post"
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
    phase_learning_rates: dict[str, float] = Field(default_factory=dict)
    """Of a student that trains in phases: name of a phase -> the rate of all that it moves, in
    place of the two above."""
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    """Share of all steps in which the rate rises; it falls in a line to 0 after that."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    bf16: bool = False
    """Multiply in bfloat16 while training (weights, losses and reading stay 32-bit floats): two to
    three times the rows/s on processors that know it, and other bytes than without."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: dict[Polarity, float] | Literal["balanced", "none"] = "none"
    """Weight of a row by its class; `balanced` = inverse frequency in the training rows."""
    seed: int = 0

    logging_steps: int = Field(default=20, gt=0)
    eval_steps: int = Field(default=0, ge=0)
    """Optimiser steps between evaluations; 0 for once an epoch."""
    resume: bool = True
    """Go on from the checkpoint that a killed run left in `output_dir`."""

    @field_validator("data", "dev")
    @classmethod
    def _reject_test_splits(cls, value: tuple[DistillData, ...]) -> tuple[DistillData, ...]:
        for data in value:
            if is_test_split(data.source):
                raise ValueError(f"{data.source}: a test split is never read while tuning")
        return value

    @model_validator(mode="after")
    def _check_losses(self) -> Self:
        losses = self.losses
        if losses.feature_l1 and not self.teacher:
            raise ValueError("losses.feature_l1: no `teacher` is named whose features are meant")
        has_teacher = bool(self.teacher or any(d.teachers for d in self.data))
        if losses.distill_kl and not has_teacher:
            raise ValueError("losses.distill_kl: neither `teacher` nor `data.teachers` is named")
        for data in self.data:
            if not data.labels and not (losses.distill_kl and (data.teachers or self.teacher)):
                raise ValueError(f"{data.source}: without labels it needs teachers and losses.distill_kl")
        if self.cross_fit_folds == 1:
            raise ValueError("cross_fit_folds: 0 for none, or 2 and more")
        return self

    def deciding(self) -> dict[str, Any]:
        """The settings that decide what is trained so far, flat: without places, looks, length."""
        free = {
            "output_dir",
            "resume",
            "logging_steps",
            "eval_steps",
            "num_train_epochs",
            "cross_fit_folds",
        }
        return settings.flatten(self.model_dump(mode="json", exclude=free))


def load_recipe(name: str, overrides: Iterable[str] = ()) -> DistillRecipe:
    """The recipe called `name` in `finetune/distill/`, or your own YAML, with overrides on top.

    Raises `UserError` naming an unknown key and the nearest known one.
    """
    path = resources.find_resource("finetune/distill", name, ".yaml")
    return settings.load(DistillRecipe, path, overrides)


def recipe_names() -> list[str]:
    """Every shipped recipe."""
    return resources.resource_names("finetune/distill", ".yaml")
