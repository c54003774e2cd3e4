"""Recipes: everything that decides a fine-tuning run, as frozen settings loaded from one YAML file.

Names are those of Hugging Face where it has the same setting. The merged recipe is written beside
the adapter (`recipe.yaml`).

    load_recipe("tiny_cpu", ["learning_rate=1e-3", "lora_rank=4"])
"""

from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from gen_msa import resources, settings
from gen_msa.data.base import is_test_split
from gen_msa.data.formats import LabelMap
from gen_msa.predictors import PredictorSettings
from gen_msa.settings import Settings
from gen_msa.types import Polarity


class ExtraTask(Settings):
    """A further task over the posts of a source, learned beside its first one.

    Multi-task learning as in "Distilling step by step" (Hsieh et al., Findings of ACL 2023):
    L = L_label + weight x L_rationale, over one model; neither task sees the answer of the other.
    """

    prompt: str
    """Of the same task as the source's own prompt, with no cue that the latter lacks."""
    weight: float = Field(default=1.0, ge=0)
    """Lambda: the weight of the task's loss; the source's own prompt has 1."""
    learn: tuple[Literal["label", "explanation", "aspect", "form"], ...] = Field(
        default=("label", "explanation", "aspect", "form"), min_length=1
    )
    """Fields of the answer that are learned; the others are given and have no loss."""


class FinetuneData(Settings):
    """One source of examples and the prompt for it; the prompt decides the task."""

    source: str
    """`DATASET:SPLIT` or a file of examples; a split named test is rejected."""
    label_map: LabelMap = Field(default_factory=dict)
    """Spelling of a gold label in the file -> `positive`, `neutral` or `negative`."""
    prompt: str = "predict/full"
    """The aspect's polarity (default), all aspects (`predict/aspects`), the post as a whole
    (`predict/overall`), the label alone (`predict/label`), the explanation of a given label
    (`predict/explain`), or a file of yours.
    """
    labels: str = "gold"
    """Whose opinions are the labels: `Opinion.annotator`."""
    rationales: str = ""
    """Where the explanations come from: `""` = the label's own opinion; else `NAME[:TARGET]` of
    `gen_msa.finetuning.rationales`: `cue`, `minigpt4`, or `from_annotator:NAME`.
    """
    extra_tasks: tuple[ExtraTask, ...] = ()
    """Further tasks over the same posts, packed into the same sequence."""
    confidence: float = Field(default=0.0, ge=0)
    """A row weighs its label probability to this power; 0: all weigh the same."""
    soft_labels: str = ""
    """Whose probabilities `loss.soft` learns: `Opinion.annotator`; `""` = those of `labels`."""
    weight: float = Field(default=1.0, gt=0)
    """Passes over this source per epoch: 0.5 takes half of its posts, 2 takes each twice."""
    limit: int | None = Field(default=None, gt=0)
    """Take only this many posts, drawn with the seed."""
    images: bool = True
    """Show the posts' images to a model that supports them."""
    cues: dict[str, dict[str, object]] | None = None
    """Overrides the recipe's `inference.cues` for this source."""


class LossConfig(Settings):
    """Loss weights. Each field is averaged over its own tokens, so that none outweighs another."""

    label: float = Field(default=1.0, ge=0)
    explanation: float = Field(default=1.0, ge=0)
    aspect: float = Field(default=1.0, ge=0)
    """The aspect terms in a joint answer."""
    form: float = Field(default=0.2, ge=0)
    """Keys, quotes, line ends and the end of the answer."""
    soft: float = Field(default=0.0, ge=0)
    """Cross-entropy to a teacher's probabilities, at the tokens where the labels differ."""
    reduction: Literal["field", "token"] = "field"
    """`token`: one mean over all answer tokens, as general tools do; ignores the weights."""
    class_weights: dict[Polarity, float] | Literal["balanced", "none"] = "none"
    """Weight of a row by its gold class; `balanced` = inverse frequency in the training rows."""


class Optimizations(Settings):
    """Speed optimizations, each of which can be disabled; none changes the loss of a batch."""

    answer_only_head: bool = True
    """Compute the language head on answer tokens only."""
    prefix_packing: bool = True
    """One sequence per post: its aspects are branches that see the post but not each other."""
    bucketing: bool = True
    """Batch posts of similar length. (This one changes which posts share a batch.)"""
    feature_cache: str = ""
    """Folder for outputs of the frozen vision encoder; `""`: none, `auto`: the user's cache."""
    prefetch: int = Field(default=2, ge=0)
    """Batches prepared ahead by a thread."""


class FinetuneRecipe(Settings):
    """One fine-tuning run."""

    model_name_or_path: str
    """A folder, a hub name in the local cache, or `builtin`."""
    output_dir: str
    caveat: str = ""
    """What its metrics are worth; printed with them and written to the model card."""
    data: tuple[FinetuneData, ...] = Field(min_length=1)
    dev: tuple[FinetuneData, ...] = ()
    """Sources that are predicted at every evaluation; they select the best checkpoint."""
    max_error_rate: float = Field(default=0.5, ge=0, le=1)
    """Share of rejected rows, or of images that cannot be read, above which training does not
    start. Fewer are named in a note and in the last line."""
    dev_limit: int | None = Field(default=None, gt=0)
    """Posts of each dev source that are predicted at an evaluation."""
    inference: PredictorSettings = PredictorSettings(bad_image="text-only")
    """How posts are shown (cues, image budget), in training and with the finished adapter."""

    finetuning_type: Literal["lora", "full"] = "lora"
    lora_rank: int = Field(default=16, gt=0)
    lora_alpha: float = Field(default=32, gt=0)
    lora_dropout: float = Field(default=0.05, ge=0, lt=1)
    lora_target: tuple[str, ...] | Literal["all"] = "all"
    """Names of linear layers, or all of the language model (never its head)."""
    train_vision: bool = False
    train_projector: bool = False
    use_rslora: bool = False
    use_dora: bool = False
    quantization: Literal["none", "int8", "nf4"] = "none"

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the frozen weights; trained weights stay in float32."""
    save_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the adapter file; a 16-bit type halves its size and rounds the weights."""
    bf16: bool = False
    """Mixed precision: matrix products in bfloat16."""
    device: str = "auto"
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    gradient_checkpointing: bool = False
    max_length: int = Field(default=2048, gt=0)
    """Tokens of one row with its images. A longer row is reported, never truncated."""

    per_device_train_batch_size: int = Field(default=4, gt=0)
    """Posts in a batch, whatever the number of their aspects."""
    gradient_accumulation_steps: int = Field(default=1, gt=0)
    num_train_epochs: float = Field(default=3, gt=0)
    max_steps: int = -1
    """Optimiser steps; overrides the epochs when positive."""
    learning_rate: float = Field(default=2e-4, gt=0)
    projector_learning_rate: float | None = Field(default=None, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    lr_scheduler_type: str = "linear"
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    seed: int = 0

    loss: LossConfig = LossConfig()
    optimizations: Optimizations = Optimizations()
    logging_steps: int = Field(default=10, gt=0)
    eval_steps: int = 0
    """Optimiser steps between evaluations; 0 for once an epoch."""
    save_steps: int = 0
    """Optimiser steps between checkpoints; 0 for once an epoch."""
    save_total_limit: int = Field(default=2, gt=0)
    early_stopping_patience: int = 0
    """Evaluations without a better dev score before training stops; 0 for never."""
    resume: bool = True
    """Resume from the last complete checkpoint in `output_dir`."""
    report_to: tuple[str, ...] = ()
    """`tensorboard`, `wandb`, `mlflow`, or any other tracker of accelerate."""

    @field_validator("data", "dev")
    @classmethod
    def _reject_test_splits(cls, value: tuple[FinetuneData, ...]) -> tuple[FinetuneData, ...]:
        for data in value:
            if is_test_split(data.source):
                raise ValueError(f"{data.source}: a test split is never read while tuning")
        return value

    @field_validator("dev")
    @classmethod
    def _reject_dev_extra_tasks(cls, value: tuple[FinetuneData, ...]) -> tuple[FinetuneData, ...]:
        for data in value:
            if data.extra_tasks:
                raise ValueError(f"{data.source}: extra_tasks are not for dev sources")
        return value

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if self.finetuning_type == "full" and self.quantization != "none":
            raise ValueError("quantized weights are only for finetuning_type: lora")
        if self.optimizations.feature_cache and self.train_vision:
            raise ValueError(
                "optimizations.feature_cache needs a frozen vision encoder: train_vision: false"
            )
        return self

    def run_settings(self) -> dict[str, Any]:
        """Return the settings that decide what is trained up to a step, as one flat mapping.

        Left out is what changes no weight beyond rounding: output, hardware, the length of the run
        and when the model is validated.
        """
        exclude: dict[str, Any] = {
            **dict.fromkeys(_FREE_FIELDS, True),
            "optimizations": _LOSSLESS_OPTIMIZATIONS,
        }
        return settings.flatten(self.model_dump(mode="json", exclude=exclude))


_OUTPUT_FIELDS = {
    "output_dir",
    "max_error_rate",
    "resume",
    "report_to",
    "logging_steps",
    "save_steps",
    "save_total_limit",
}
_HARDWARE_FIELDS = {"device", "gradient_checkpointing", "attn_implementation", "save_dtype"}
_LENGTH_FIELDS = {"max_steps", "num_train_epochs", "eval_steps", "early_stopping_patience"}
_FREE_FIELDS = {*_OUTPUT_FIELDS, *_HARDWARE_FIELDS, *_LENGTH_FIELDS, "model_name_or_path"}
_LOSSLESS_OPTIMIZATIONS = {"prefetch", "feature_cache", "answer_only_head"}


def load_recipe(name: str, overrides: Iterable[str] = ()) -> FinetuneRecipe:
    """Load a recipe with overrides.

    Args:
        name: A recipe in `finetune/lora/`, or the path of a YAML file.
        overrides: Settings, each as `key=value`.

    Returns:
        The checked recipe; a setting in `overrides` replaces that of the file.

    Raises:
        UserError: If a key is unknown (with the nearest known one) or a value is invalid.
    """
    path = resources.find_resource("finetune/lora", name, ".yaml")
    return settings.load(FinetuneRecipe, path, overrides)


def recipe_names() -> list[str]:
    """Return the names of the packaged recipes."""
    return resources.resource_names("finetune/lora", ".yaml")
