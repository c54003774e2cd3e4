"""A recipe: everything that decides a fine-tuning run, as frozen settings filled from one YAML.

Names are Hugging Face's own where Hugging Face owns the thing. Knows nothing of models or tensors.
The merged recipe is written beside the adapter (`recipe.yaml`).

    load("tiny_cpu", ["learning_rate=1e-3", "lora_rank=4"])
"""

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from gen_msa import resources, settings
from gen_msa.data.splits import is_test_split
from gen_msa.predictors import PredictorSettings
from gen_msa.settings import Settings
from gen_msa.types import Polarity


class ExtraTask(Settings):
    """A further question about the posts of a source, learned beside its first one.

    Multi-task learning as in "Distilling step by step" (Hsieh et al., ACL Findings 2023):
    L = L_label + weight x L_rationale, over one model; neither answer is shown to the other task.
    """

    prompt: str
    """Of the same task as the source's own, and with no cue that it has not."""
    weight: float = Field(default=1.0, ge=0)
    """Lambda: what the task's loss weighs; the source's own prompt weighs 1."""
    learn: tuple[Literal["label", "explanation", "aspect", "form"], ...] = Field(
        default=("label", "explanation", "aspect", "form"), min_length=1
    )
    """Fields of its answer that are learned; the others are shown and weigh nothing."""


class FinetuneData(Settings):
    """One source of examples, and what is asked of it. Its prompt decides the task."""

    source: str
    """`DATASET:SPLIT` or a file of examples; a split named test is refused."""
    prompt: str = "predict/full"
    """MASC, JMASA (`reader/aspects`), the whole post (`reader/overall`), the label alone
    (`reader/label`), the reason of a given label (`reader/explain`), or your own file."""
    labels: str = "gold"
    """Whose opinions are the labels: `Opinion.by`."""
    rationales: str = ""
    """Where the reasons to learn come from: `""` = the label's own opinion; else `NAME[:TARGET]` of
    `gen_msa.finetuning.rationales`, e.g. `cue`, `minigpt4` or `by:TEACHER` for another's opinions."""
    extra_tasks: tuple[ExtraTask, ...] = ()
    """Further tasks over the same posts, each a branch of the post's one sequence."""
    confidence: float = Field(default=0.0, ge=0)
    """A row weighs its label's probability to this power; 0: all weigh the same."""
    soft_labels: str = ""
    """Whose probabilities `loss.soft` learns: `Opinion.by`; `""` = those of `labels`."""
    weight: float = Field(default=1.0, gt=0)
    """Passes over this source in one epoch: 0.5 takes half of its posts, 2 takes each twice."""
    limit: int | None = Field(default=None, gt=0)
    """Take only this many posts, chosen by the seed."""
    images: bool = True
    """Show the posts' pictures to a model that sees them."""
    cues: dict[str, dict[str, object]] | None = None
    """Overrides the recipe's `reading.cues` for this source."""


class LossConfig(Settings):
    """What a token weighs. Each field is averaged over its own tokens, so none drowns another."""

    label: float = Field(default=1.0, ge=0)
    explanation: float = Field(default=1.0, ge=0)
    aspect: float = Field(default=1.0, ge=0)
    """The names of aspects in a joint answer."""
    form: float = Field(default=0.2, ge=0)
    """Keys, quotes, line ends and the end of the answer."""
    soft: float = Field(default=0.0, ge=0)
    """Cross-entropy to a teacher's probabilities, where the words of the labels part."""
    reduction: Literal["field", "token"] = "field"
    """`token`: one mean over all answer tokens, as general tools do it; ignores the weights."""
    class_weights: dict[Polarity, float] | Literal["balanced", "none"] = "none"
    """Weight of a row by its gold class; `balanced` = inverse frequency in the training rows."""


class Optimizations(Settings):
    """What makes it fast. Each can be switched off; none changes the loss of a batch."""

    answer_only_head: bool = True
    """Language head on answer tokens only."""
    prefix_packing: bool = True
    """One sequence a post: its aspects are branches that see the post and not each other."""
    bucketing: bool = True
    """Posts of like length in one batch. (This one changes which posts meet in a batch.)"""
    feature_cache: str = ""
    """Folder for the frozen vision tower's outputs; `""` for none, `auto` for the user's cache."""
    prefetch: int = Field(default=2, ge=0)
    """Batches made ready ahead by a thread."""


class FinetuneRecipe(Settings):
    """One fine-tuning run."""

    model_name_or_path: str
    """A folder, a hub name in the local cache, or `builtin`."""
    output_dir: str
    data: tuple[FinetuneData, ...] = Field(min_length=1)
    dev: tuple[FinetuneData, ...] = ()
    """Read, generated and parsed at every evaluation; the best checkpoint is chosen by it."""
    dev_limit: int | None = Field(default=None, gt=0)
    """Posts of each dev source that are read at an evaluation while training."""
    inference: PredictorSettings = PredictorSettings(bad_image="text-only")
    """How posts are shown (cues, picture budget); the adapter is read with the same."""

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
    """Of the frozen weights; what is trained stays in float32."""
    save_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the adapter's file; a shorter one is half the size and rounds."""
    bf16: bool = False
    """Mixed precision: matrix products in bfloat16."""
    device: str = "auto"
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    gradient_checkpointing: bool = False
    max_length: int = Field(default=2048, gt=0)
    """Tokens of one row with its pictures. A row that needs more is reported, never cut."""

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
    """Evaluations without a better dev macro-F1 before it stops; 0 for never."""
    resume: bool = True
    """Go on from the last whole checkpoint in `output_dir`."""
    report_to: tuple[str, ...] = ()
    """`tensorboard`, `wandb`, `mlflow`, …: whatever accelerate knows."""

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
                raise ValueError(f"{data.source}: a dev source is read by its prompt alone")
        return value

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if self.finetuning_type == "full" and self.quantization != "none":
            raise ValueError("quantised weights are only for finetuning_type: lora")
        if self.optimizations.feature_cache and self.train_vision:
            raise ValueError(
                "optimizations.feature_cache needs a frozen vision tower: train_vision: false"
            )
        return self


def load_recipe(name: str, overrides: Iterable[str] = ()) -> FinetuneRecipe:
    """The recipe called `name` in `finetune/lora/`, or the user's own YAML, with overrides on top.

    Raises `UserError` naming an unknown key and the nearest known one.
    """
    path = resources.find_resource("finetune/lora", name, ".yaml")
    return settings.load(FinetuneRecipe, path, overrides)


def recipe_names() -> list[str]:
    """Every shipped recipe."""
    return resources.resource_names("finetune/lora", ".yaml")
