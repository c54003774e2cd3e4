"""Saves the best adapter of a run with everything that inference needs.

The folder holds weights, `recipe.yaml`, `inference.json` (settings, hashes, probe), the model card
and a manifest. It is written beside its place, sealed and renamed, so it is complete or absent.

    save_best_adapter(folder, recipe, loaded, model, prepared, result, step=120)
"""

from collections import Counter
from pathlib import Path
from typing import Any

from gen_msa import manifest, prompting, settings
from gen_msa.backends.hf import adapters, probe, weights
from gen_msa.errors import UserError
from gen_msa.finetuning import model_card
from gen_msa.finetuning.load_model import LoadedModel
from gen_msa.finetuning.peft_model import mixed_precision, trainable_params, write_adapter_weights
from gen_msa.finetuning.prepare import PreparedRun
from gen_msa.finetuning.recipe import FinetuneData, FinetuneRecipe
from gen_msa.finetuning.validation import ValidationResult, preserve_rng_and_mode
from gen_msa.training import fsdp
from gen_msa.training.checkpoint import WRITE_ERRORS


def save_best_adapter(
    folder: Path,
    recipe: FinetuneRecipe,
    loaded: LoadedModel,
    model: Any,
    prepared: PreparedRun,
    validation: ValidationResult | None,
    *,
    step: int,
    is_main: bool = True,
) -> None:
    """Save the adapter as it is now to `folder`, replacing the previous one.

    The processes of a sharded model must call this together.

    Args:
        folder: The adapter folder.
        recipe: The recipe of the run.
        loaded: The base model and its processor.
        model: The wrapped model that is trained.
        prepared: The tokenized training data, for the card.
        validation: The metrics of these weights; None without dev sources.
        step: Optimiser steps of these weights.
        is_main: Whether this process writes.

    Raises:
        UserError: If the folder cannot be written; the previous one stays.
    """
    with preserve_rng_and_mode(model), mixed_precision(model, recipe):
        state = fsdp.gather_state_dict(model, is_main=is_main)
        probe_record = probe.record_probe(model.eval(), loaded.processor)
    if not is_main:
        return
    try:
        with manifest.atomic_directory(folder) as staging:
            write_adapter_weights(model, staging, recipe.save_dtype, state)
            if recipe.finetuning_type == "full":
                # A full model is loaded without a base, so it needs its own processor.
                loaded.processor.save_pretrained(staging)
            _write_inference_files(staging, recipe, loaded, probe_record)
            model_card.write_card(
                staging, _card_data(recipe, loaded, model, prepared, validation, step)
            )
    except WRITE_ERRORS as e:
        raise UserError(
            f"the adapter {folder} cannot be written: {e}",
            hint="free disk space, then run again: it resumes from the last complete checkpoint",
        ) from None


def inference_settings(recipe: FinetuneRecipe) -> dict[str, Any]:
    """Return predictor settings that show posts as training did: the first prompt of each task.

    Cues that name files of the training corpora are not included.
    """
    tasks = {"aspect": "prompt", "aspects": "aspects_prompt", "overall": "overall_prompt"}
    inference: dict[str, Any] = recipe.inference.model_dump(
        mode="json", include={"cues", "image", "max_new_tokens", "reask_prompt"}
    )
    for data in recipe.data:
        prompt = prompting.load_prompt(data.prompt)
        if not prompt.takes_label:
            inference.setdefault(tasks[prompt.task], data.prompt)
    return inference


def _write_inference_files(
    staging: Path, recipe: FinetuneRecipe, loaded: LoadedModel, probe_record: probe.AdapterProbe
) -> None:
    """Write the recipe, and what inference with the adapter needs."""
    settings.save(recipe, staging / "recipe.yaml")
    adapters.write_metadata(
        staging,
        base=recipe.model_name_or_path,
        base_sha256=weights.base_hash(loaded.folder),
        processor=loaded.processor,
        prompts={p: prompting.load_prompt(p).digest for d in recipe.data for p in _prompts(d)},
        inference=inference_settings(recipe),
        probe=probe_record,
    )


def _card_data(
    recipe: FinetuneRecipe,
    loaded: LoadedModel,
    model: Any,
    prepared: PreparedRun,
    validation: ValidationResult | None,
    step: int,
) -> model_card.AdapterCard:
    posts = Counter(prepared.sources)
    rows: Counter[int] = Counter()
    for source, sequences in zip(prepared.sources, prepared.sequences, strict=True):
        rows[source] += sum(len(sequence.rows) for sequence in sequences)
    train_sources = [
        model_card.TrainSource(
            source=d.source,
            prompt=", ".join(prompting.load_prompt(p).identity for p in _prompts(d)),
            labels=d.labels,
            rationales=d.rationales,
            posts=posts[i],
            rows=rows[i],
            left_out=_count_left_out(d, prepared),
        )
        for i, d in enumerate(recipe.data)
    ]
    return model_card.AdapterCard(
        recipe=recipe,
        base=recipe.model_name_or_path,
        base_hash=loaded.base_hash,
        train_sources=train_sources,
        metrics=validation.as_json() if validation else None,
        step=step,
        trained_params=sum(t.numel for t in trainable_params(model)),
    )


def _prompts(data: FinetuneData) -> list[str]:
    """Return every prompt that a source is trained with."""
    return [data.prompt, *(task.prompt for task in data.extra_tasks)]


def _count_left_out(data: FinetuneData, prepared: PreparedRun) -> int:
    return sum(name.startswith(f"{data.source}/") for name, _ in prepared.skipped)
