"""TRL's SFTTrainer as a contender, with the same model, adapter, optimiser and rows.

Text rows are passed as the tokens of our tokenizer; rows with images as TRL takes them, files and
strings, since it processes them itself. TRL is not a dependency: `pip install trl==1.16.0` (with
`datasets`).

    work(Spec("TRL", "theirs", recipe, options={"packing": True, "max_length": 512}), meter)
"""

import contextlib
import importlib.metadata
import io
import itertools
import tempfile
from typing import Any

from finetuners import Meter, Spec
from gen_msa import settings
from gen_msa.finetuning.batches import EpochSampler
from gen_msa.finetuning.peft_model import load_model, lora_targets
from gen_msa.finetuning.prepare import PreparedRun, prepare
from gen_msa.finetuning.recipe import FinetuneRecipe
from gen_msa.finetuning.tokenization import TokenizedExample
from gen_msa.training.model_parts import find_model_parts

VERSION = "1.16.0"


def missing() -> str:
    """Return what to install, or ""."""
    try:
        versions = [importlib.metadata.version(p) for p in ("trl", "datasets")]
    except importlib.metadata.PackageNotFoundError:
        versions = [""]
    return "" if versions[0] == VERSION else f"pip install trl=={VERSION}"


def work(spec: Spec, meter: Meter) -> None:
    """Run laps of one epoch each until no more are wanted."""
    import trl.trainer.utils
    from trl import SFTTrainer

    recipe = settings.load(FinetuneRecipe, None, spec.recipe)
    loaded = load_model(recipe)
    prepared = prepare(
        recipe, loaded.model, loaded.processor, unpacked_reason="TRL trains separate rows"
    )
    trl_options = dict(spec.options)
    if trl_options.pop("head", "") == "labelled":  # what it does where it finds Triton
        trl.trainer.utils._use_triton = lambda device: True
    rows = in_order(prepared, recipe)
    has_images = any(r.expander_row for r in rows)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer = SFTTrainer(
            loaded.model,
            arguments(recipe, folder, len(rows), prepared, laps=spec.laps, trl_options=trl_options),
            train_dataset=image_rows(rows, prepared) if has_images else token_rows(rows),
            processing_class=loaded.processor,
            peft_config=adapter(loaded.model, recipe),
            callbacks=[_clock(meter, len(rows))],
        )
        if meter.ready():
            trainer.train()


def in_order(prepared: PreparedRun, recipe: FinetuneRecipe) -> list[TokenizedExample]:
    """Return the rows in the order of our first epoch."""
    sampler = EpochSampler(recipe, prepared)
    epoch = itertools.islice(sampler.remaining_steps(0), sampler.epoch_steps)
    posts = itertools.chain.from_iterable(epoch)
    return [row for i in posts for sequence in prepared.sequences[i] for row in sequence.rows]


def token_rows(rows: list[TokenizedExample]) -> Any:
    """Return tokenized rows; the loss is on the answer."""
    from datasets import Dataset

    table = [
        {"input_ids": list(r.ids), "completion_mask": [0] * r.prompt_length + [1] * len(r.fields)}
        for r in rows
    ]
    return Dataset.from_list(table)


def image_rows(rows: list[TokenizedExample], prepared: PreparedRun) -> Any:
    """Return prompt, answer and image of each row, as strings and a file."""
    from datasets import Dataset, Image, List

    decode = prepared.example_tokenizer.chat_tokenizer.tokenizer.decode
    table = [
        {
            "prompt": prepared.example_tokenizer.chat_tokenizer.render_prompt(
                r.example.question.request.chat
            ).text,
            "completion": decode(list(r.ids[r.prompt_length :])),
            "images": [p.path for p in r.expander_row.images] if r.expander_row else [],
            "length": len(r.ids),
        }
        for r in rows
    ]
    return Dataset.from_list(table).cast_column("images", List(Image()))


def adapter(model: Any, recipe: FinetuneRecipe) -> Any:
    """Return the LoRA config of the recipe."""
    from peft import LoraConfig

    return LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=lora_targets(model, recipe, find_model_parts(model)),
        task_type="CAUSAL_LM",
    )


def arguments(
    recipe: FinetuneRecipe,
    folder: str,
    rows: int,
    prepared: PreparedRun,
    *,
    laps: int,
    trl_options: dict[str, Any],
) -> Any:
    """Return settings like those of the recipe, with as many updates per epoch.

    Args:
        recipe: The recipe.
        folder: The output folder.
        rows: Number of training rows.
        prepared: The tokenized training data.
        laps: Number of epochs.
        trl_options: Settings of SFTConfig that override these.
    """
    from trl import SFTConfig

    rows_per_update = -(-rows // EpochSampler(recipe, prepared).epoch_steps)
    size = trl_options.get("per_device_train_batch_size", rows_per_update)
    overrides: dict[str, Any] = {
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": max(round(rows_per_update / size), 1),
        "train_sampling_strategy": "group_by_length",
        "max_length": None,
        "logging_steps": 10,
        "remove_unused_columns": False,  # else it cannot group posts with images by length
        **trl_options,
    }
    return SFTConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=recipe.bf16,
        gradient_checkpointing=False,
        completion_only_loss=True,
        num_train_epochs=laps,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.lr_scheduler_type,
        warmup_steps=recipe.warmup_ratio,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        optim="adamw_torch_fused",
        seed=recipe.seed,
        save_strategy="no",
        logging_strategy="steps",
        report_to=[],
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        **overrides,
    )


def _clock(meter: Meter, rows: int) -> Any:
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        """Reports every epoch to the meter."""

        losses: tuple[float, ...] = ()
        updates = 0

        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.losses += tuple(float(v) for k, v in kwargs["logs"].items() if k == "loss")

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            losses, self.losses = self.losses, ()
            updates, self.updates = state.global_step - self.updates, state.global_step
            if not meter.lap(rows, updates, losses):
                control.should_training_stop = True

    return Clock()
