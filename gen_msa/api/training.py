"""Train by a recipe: the Python side of `gen-msa finetune` and `gen-msa distill`.

adapter = finetune("tiny_cpu", output_dir="adapters/mine", data=[{"source": "posts.jsonl"}])
student = distill("text", data=[{"source": "posts.jsonl"}], dev=[{"source": "dev.jsonl"}])
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def finetune(
    recipe: str | Path,
    *,
    output_dir: str | Path | None = None,
    resume: bool | None = None,
    dry_run: bool = False,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Path:
    """Fine-tune a multimodal LLM by a recipe, in this process.

    For several GPUs use `accelerate launch -m gen_msa.finetuning --recipe RECIPE KEY=VALUE`.

    Args:
        recipe: A shipped recipe's name (`gen-msa ls recipes`) or a YAML file.
        output_dir: Folder of the run. Default: the recipe's.
        resume: Go on from the last complete checkpoint. Default: as the recipe says.
        dry_run: Plan and try the longest batch; write nothing.
        settings: Keys of the recipe, dotted: `{"data.0.source": "posts.jsonl"}`.
        **options: Keys of the recipe: `learning_rate=1e-4`, `data=[{"source": "posts.jsonl"}]`.

    Returns:
        The adapter's folder; `load(f"transformers:BASE@{folder}")` uses it.

    Raises:
        UserError: A key does not exist, data cannot be read, or the loss diverged.
        MissingExtra: `pip install 'gen-msa[train]'` is needed.
    """
    from gen_msa.finetuning import start

    return start(
        str(recipe), _overrides(output_dir, settings, options), dry_run=dry_run, resume=resume
    )


def distill(
    recipe: str | Path,
    *,
    output_dir: str | Path | None = None,
    dry_run: bool = False,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Path:
    """Train a compact student by a recipe, in this process.

    Args:
        recipe: A shipped recipe's name (`gen-msa ls distill`) or a YAML file.
        output_dir: Folder of the run. Default: the recipe's.
        dry_run: Plan and try the longest batch; write nothing.
        settings: Keys of the recipe, dotted: `{"losses.label": 1.0}`.
        **options: Keys of the recipe: `num_train_epochs=2`, `data=[{"source": "posts.jsonl"}]`.

    Returns:
        The student's folder; `load(f"student:{folder}")` uses it.

    Raises:
        UserError: A key does not exist, data cannot be read, or the loss diverged.
        MissingExtra: `pip install 'gen-msa[train]'` is needed.
    """
    from gen_msa.distillation import start

    return start(str(recipe), _overrides(output_dir, settings, options), dry_run=dry_run)


def _overrides(
    output_dir: str | Path | None,
    settings: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> list[str]:
    """Return `key=value` overrides, as the command line takes them; JSON is YAML."""
    values = {**(settings or {}), **options}
    if output_dir is not None:
        values["output_dir"] = str(output_dir)
    return [f"{key}={json.dumps(value, default=str)}" for key, value in values.items()]
