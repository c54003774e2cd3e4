"""TRL's SFTTrainer as a contender, given the same model, adapter, optimiser and rows.

Rows of words alone are handed over as the tokens that our encoder makes of them; pictures as TRL
takes them, files and strings, since it processes them itself. TRL is no dependency of anything:
`pip install trl==1.16.0` (with `datasets`).

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
from gen_msa.finetuning.load_model import load_model
from gen_msa.finetuning.peft_model import lora_targets
from gen_msa.finetuning.prepare import PreparedRun, prepare
from gen_msa.finetuning.recipe import FinetuneRecipe
from gen_msa.finetuning.tokenization import TokenizedExample
from gen_msa.training.model_parts import find_model_parts

VERSION = "1.16.0"


def missing() -> str:
    """What to install, or ""."""
    try:
        found = [importlib.metadata.version(p) for p in ("trl", "datasets")]
    except importlib.metadata.PackageNotFoundError:
        found = [""]
    return "" if found[0] == VERSION else f"pip install trl=={VERSION}"


def work(spec: Spec, meter: Meter) -> None:
    """Laps of one epoch each until no more are wanted."""
    import trl.trainer.utils
    from trl import SFTTrainer

    recipe = settings.load(FinetuneRecipe, None, spec.recipe)
    opened = load_model(recipe)
    prepared = prepare(recipe, opened.model, opened.processor, unpacked_reason="rows of their own")
    own = dict(spec.options)
    if own.pop("head", "") == "labelled":  # what it does where it finds Triton
        trl.trainer.utils._use_triton = lambda device: True
    rows = in_order(prepared, recipe)
    pictured = any(r.expander_row for r in rows)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer = SFTTrainer(
            opened.model,
            arguments(recipe, folder, len(rows), prepared, laps=spec.laps, own=own),
            train_dataset=shown(rows, prepared) if pictured else tokens(rows),
            processing_class=opened.processor,
            peft_config=adapter(opened.model, recipe),
            callbacks=[_clock(meter, len(rows))],
        )
        if meter.ready():
            trainer.train()


def in_order(prepared: PreparedRun, recipe: FinetuneRecipe) -> list[TokenizedExample]:
    """The rows as our first epoch takes them."""
    planner = EpochSampler(recipe, prepared)
    epoch = itertools.islice(planner.remaining_steps(0), planner.epoch_steps)
    posts = itertools.chain.from_iterable(epoch)
    return [row for i in posts for line in prepared.sequences[i] for row in line.rows]


def tokens(rows: list[TokenizedExample]) -> Any:
    """Pre-tokenised rows; the loss is on the answer."""
    from datasets import Dataset

    table = [
        {"input_ids": list(r.ids), "completion_mask": [0] * r.prompt_length + [1] * len(r.fields)}
        for r in rows
    ]
    return Dataset.from_list(table)


def shown(rows: list[TokenizedExample], prepared: PreparedRun) -> Any:
    """Prompt, answer and picture of each row, as strings and a file."""
    from datasets import Dataset, Image, List

    decode = prepared.example_tokenizer.layout.tokenizer.decode
    table = [
        {
            "prompt": prepared.example_tokenizer.layout.render_prompt(
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
    """The LoRA of the recipe."""
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
    own: dict[str, Any],
) -> Any:
    """Settings like the recipe's: as many updates an epoch, nothing saved or judged."""
    from trl import SFTConfig

    an_update = -(-rows // EpochSampler(recipe, prepared).epoch_steps)
    size = own.get("per_device_train_batch_size", an_update)
    chosen: dict[str, Any] = {
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": max(round(an_update / size), 1),
        "train_sampling_strategy": "group_by_length",
        "max_length": None,
        "logging_steps": 10,
        "remove_unused_columns": False,  # else it cannot group posts with pictures by length
        **own,
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
        **chosen,
    )


def _clock(meter: Meter, rows: int) -> Any:
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        """Tells the meter of every epoch."""

        losses: tuple[float, ...] = ()
        updates = 0

        def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.losses += tuple(float(v) for k, v in more["logs"].items() if k == "loss")

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            told, self.losses = self.losses, ()
            done, self.updates = state.global_step - self.updates, state.global_step
            if not meter.lap(rows, done, told):
                control.should_training_stop = True

    return Clock()
