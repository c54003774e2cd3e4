"""A recipe: everything that decides the training of a student, as frozen settings from one YAML.

Names are Hugging Face's own where it has one for the setting. The merged recipe is written beside
the student (`recipe.yaml`).

    load_recipe("text", ["learning_rate=3e-5", "seed=1"])
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from gen_msa import resources, settings
from gen_msa.data.base import is_test_split
from gen_msa.data.formats import LabelMap
from gen_msa.settings import Settings
from gen_msa.types import Polarity


class DistillData(Settings):
    """One source of examples, and whose labels or probabilities are learned."""

    source: str
    """`DATASET:SPLIT` or a file of examples; a split named test is refused."""
    label_map: LabelMap = Field(default_factory=dict)
    """Spelling of a gold label in the file -> `positive`, `neutral` or `negative`."""
    labels: str = "gold"
    """Whose opinions are learned: an `Opinion.annotator`; empty: only the teachers' are."""
    teachers: tuple[str, ...] = ()
    """Files of opinions on these posts, `FILE.jsonl` or `FILE.jsonl#NAME`: an ensemble, whose
    probabilities are averaged, each aspect's over those that have an opinion on it."""
    weight: float = Field(default=1.0, gt=0)
    """How much a row counts, compared with those of other sources."""
    confidence: float = Field(default=0.0, ge=0)
    """Rows count by the teachers' highest probability to this power; 0: all equally."""
    filters: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    """Filter -> weight of an answer by `labels` that it rejected (several: the product; not named:
    0), from the `.rejected.jsonl` beside `source`. Empty: rejected answers are not learned."""
    limit: int | None = Field(default=None, gt=0)
    """Take only this many rows, chosen by the seed."""


class DistillLossConfig(Settings):
    """The loss: a weighted sum of terms, each a mean over rows by their weight."""

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
    """The model: a name of `gen_msa.models`."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Hyper-parameters of the model that differ from its defaults."""
    pretrained: bool = True
    """Start from the pretrained weights that the model names; else from new ones."""
    output_dir: str
    data: tuple[DistillData, ...] = Field(min_length=1)
    dev: tuple[DistillData, ...] = ()
    """Evaluated at every validation; the best student is chosen by them."""
    max_error_rate: float = Field(default=0.5, ge=0, le=1)
    """Share of rejected rows, or of images that cannot be read, above which training does not
    start. Fewer are named in a note and in the last line."""

    teacher: str = ""
    """The folder of a student that teaches this one: its probabilities (where a row has none) and
    its features. It reads the same rows in eval mode, and is never changed."""
    losses: DistillLossConfig = DistillLossConfig()
    cross_fit_folds: int = Field(default=0, ge=0)
    """Cross-fitting, from 2: as many further models are trained, each without a share of the posts,
    and their predictions for those posts are written to `crossfit.jsonl`: probabilities of a
    teacher that has not memorised the labels."""
    cues: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Cue sources that write the context of a row. A student that has no input for `context` reads
    it at the end of its text, in training and in use."""

    text: Literal["post", "explanation"] = "post"
    """What the student reads: the post, or the opinion's explanation alone."""
    mask_labels: bool = False
    """Hide the words positive, negative and neutral from it, in training and in use."""
    max_length: int = Field(default=128, ge=8)
    """Tokens of text and aspect; a longer text is truncated, and such rows are counted."""

    per_device_train_batch_size: int = Field(default=32, gt=0)
    num_train_epochs: int = Field(default=4, gt=0)
    learning_rate: float = Field(default=5e-5, gt=0)
    head_learning_rate: float | None = Field(default=None, gt=0)
    """Of the new layers of a pretrained student; None: that of all others."""
    phase_learning_rates: dict[str, float] = Field(default_factory=dict)
    """Of a model that trains in phases: name of a phase -> the rate of all parameters that it
    updates, in place of the two above."""
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    """Share of all steps in which the rate rises; after that it falls linearly to 0."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    bf16: bool = False
    """Multiply in bfloat16 while training (weights, losses and inference stay in float32): two to
    three times the rows/s on processors that support it, and slightly other weights."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: dict[Polarity, float] | Literal["balanced", "none"] = "none"
    """Weight of a row by its class; `balanced` = inverse frequency in the training rows."""
    seed: int = 0

    logging_steps: int = Field(default=20, gt=0)
    eval_steps: int = Field(default=0, ge=0)
    """Optimiser steps between validations; 0 for once an epoch."""
    resume: bool = True
    """Go on from the checkpoint that a stopped run left in `output_dir`."""

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
            raise ValueError("losses.feature_l1: no `teacher` is named whose features it compares")
        has_teacher = bool(self.teacher or any(d.teachers for d in self.data))
        if losses.distill_kl and not has_teacher:
            raise ValueError("losses.distill_kl: neither `teacher` nor `data.teachers` is named")
        for data in self.data:
            if not data.labels and not (losses.distill_kl and (data.teachers or self.teacher)):
                raise ValueError(
                    f"{data.source}: without labels it needs teachers and losses.distill_kl"
                )
        if self.cross_fit_folds == 1:
            raise ValueError("cross_fit_folds: 0 for none, or 2 and more")
        return self

    def run_settings(self) -> dict[str, Any]:
        """Return the settings that decide what is trained up to a step, as one flat mapping.

        Left out are the output folder, logging, the length of the run, and the fold models.
        """
        free = {
            "output_dir",
            "max_error_rate",
            "resume",
            "logging_steps",
            "eval_steps",
            "num_train_epochs",
            "cross_fit_folds",
        }
        return settings.flatten(self.model_dump(mode="json", exclude=free))


def load_recipe(name: str, overrides: Iterable[str] = ()) -> DistillRecipe:
    """Load a packaged recipe, or your own YAML file, with overrides on top.

    Args:
        name: A name in `finetune/distill/`, or a path.
        overrides: `key=value` settings.

    Returns:
        The checked recipe; a setting in `overrides` replaces that of the file.

    Raises:
        UserError: For an unknown key, with the nearest known one.
    """
    path = resources.find_resource("finetune/distill", name, ".yaml")
    return settings.load(DistillRecipe, path, overrides)


def recipe_names() -> list[str]:
    """Return the names of all packaged recipes."""
    return resources.resource_names("finetune/distill", ".yaml")
