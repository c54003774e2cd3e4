"""Saves the best adapter of a run with everything that inference needs.

The folder holds weights, `recipe.yaml`, `inference.json` (settings, hashes, probe), the model card
and a manifest. It is written beside its place, sealed and renamed, so it is complete or absent.

    save_best_adapter(folder, recipe, loaded, model, prepared, result, step=120)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gen_msa import __version__, manifest, prompting, settings
from gen_msa.backends.hf import adapters, probe, weights
from gen_msa.errors import write_errors
from gen_msa.finetuning.peft_model import (
    LoadedModel,
    mixed_precision,
    trainable_params,
    write_adapter_weights,
)
from gen_msa.finetuning.prepare import PreparedRun
from gen_msa.finetuning.recipe import FinetuneData, FinetuneRecipe
from gen_msa.finetuning.validation import ValidationResult, preserve_rng_and_mode
from gen_msa.training import fsdp
from gen_msa.training.checkpoint import RESUME_HINT
from gen_msa.training.model_card import render, to_json, to_yaml, without_folder, write_files

# Writes the model card of an adapter: `README.md` with its metrics, and `metrics.json` beside it.

_TEMPLATE = Path(__file__).with_name("model_card.jinja")
_HIDDEN_SETTINGS = {"model_name_or_path", "output_dir", "data", "dev", "inference", "report_to"} | {
    "resume",
    "device",
}
"""Settings that the card omits: given in words, in `inference.json`, or of the machine."""
_TAGS = ["gen_msa", "sentiment-analysis", "aspect-based-sentiment-analysis", "explanations"]


@dataclass(frozen=True)
class TrainSource:
    """One training source as it was used."""

    source: str
    prompt: str
    """`name@hash`."""
    labels: str
    rationales: str
    """Where the rationales came from; `""`: the label's own opinion."""
    posts: int
    rows: int
    left_out: int = 0


@dataclass(frozen=True)
class AdapterCard:
    """The contents of a card."""

    recipe: FinetuneRecipe
    base: str
    """The base model: a hub name, `builtin`, or a folder, of which only the last part is shown."""
    base_hash: str
    train_sources: Sequence[TrainSource]
    metrics: Mapping[str, Any] | None
    """`ValidationResult.as_json` of the best checkpoint; None without a dev source."""
    step: int
    """Optimiser steps of the best checkpoint."""
    trained_params: int
    """Number of trained parameters."""
    license: str = ""
    """SPDX name in lower case; empty: not given in the front matter."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Added to `metrics.json` unchanged."""


def write_card(folder: Path, card: AdapterCard) -> None:
    """Write `README.md` and `metrics.json`, each atomically.

    Args:
        folder: The folder of the adapter.
        card: Contents of both files.

    Raises:
        UserError: If a file cannot be written.
    """
    write_files(folder, {"metrics.json": metrics_json(card), "README.md": render_card(card)})


def metrics_json(card: AdapterCard) -> str:
    """Return the text of `metrics.json`: every metric with n, interval, seed and hashes."""
    card = _without_paths(card)
    metrics = {
        "gen_msa": __version__,
        "base": card.base,
        "base_hash": card.base_hash,
        "seed": card.recipe.seed,
        "step": card.step,
        "train_data": [asdict(s) for s in card.train_sources],
        "dev": card.metrics,
        **card.extra,
    }
    return to_json(metrics)


def render_card(card: AdapterCard) -> str:
    """Return the card as Markdown with YAML front matter, named after the run's output folder."""
    card = _without_paths(card)
    r, metrics = card.recipe, card.metrics or {}
    name = Path(r.output_dir).name
    quantized = "" if r.quantization == "none" else f" (base quantized to {r.quantization})"
    vision_parts = ["projector"] * r.train_projector + ["vision tower"] * r.train_vision
    on_hub = "/" in card.base
    return render(
        _TEMPLATE,
        front=_front_matter(card, name),
        name=name,
        caveat=r.caveat,
        kind=("LoRA adapter" if r.finetuning_type == "lora" else "fine-tuned model") + quantized,
        base=card.base,
        model="builtin:DIR"
        if card.base == "builtin"
        else f"transformers:{card.base if on_hub else 'BASE'}@DIR",
        base_hash=card.base_hash,
        version=__version__,
        step=card.step,
        parameters=card.trained_params,
        trained=", ".join(["language model", *vision_parts]),
        seed=r.seed,
        train_data=card.train_sources,
        sources=metrics.get("sources", ()),
        metrics_step=f"{metrics.get('step', 0):,}",
        metrics_seed=metrics.get("seed"),
        rationales_imitated=any(s.rationales for s in card.train_sources),
        frozen_vision=not vision_parts,
        settings=_card_settings(r),
    )


def _front_matter(card: AdapterCard, name: str) -> str:
    """Return the front matter for the hub; a base that is only a local folder is not named."""
    from huggingface_hub import ModelCardData

    lora = card.recipe.finetuning_type == "lora"
    results = _eval_results(card)
    data = ModelCardData(
        base_model=card.base if "/" in card.base else None,
        library_name="peft" if lora else "transformers",
        license=card.license or None,
        model_name=name if results else None,
        eval_results=results or None,
        tags=[*_TAGS, *(["lora"] if lora else [])],
    )
    return str(data.to_yaml())


def _eval_results(card: AdapterCard) -> list[Any]:
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="text-classification",
            task_name="aspect sentiment, generated and parsed",
            dataset_type=s["source"].partition(":")[0],
            dataset_name=s["source"],
            dataset_split=s["source"].partition(":")[2] or None,
            metric_type=metric,
            metric_value=round(s[key], 4),
            metric_args=options,
        )
        for s in (card.metrics or {}).get("sources", ())
        for metric, key, options in (
            ("accuracy", "accuracy", None),
            ("f1", "macro_f1", {"average": "macro"}),
        )
    ]


def _card_settings(recipe: FinetuneRecipe) -> str:
    tree = recipe.model_dump(mode="json", exclude=_HIDDEN_SETTINGS)
    tree["optimizations"]["feature_cache"] = bool(tree["optimizations"]["feature_cache"])
    return to_yaml(tree)


def _without_paths(card: AdapterCard) -> AdapterCard:
    """Return the card without any folder of this machine."""
    base = card.base
    owner, slash, _ = base.partition("/")
    hub = base.count("/") == 1 and owner.strip(".~") and slash and not Path(base).exists()
    train_sources = [
        replace(s, source=without_folder(s.source), rationales=without_folder(s.rationales))
        for s in card.train_sources
    ]
    metrics = card.metrics
    if metrics is not None:
        sources = [{**s, "source": without_folder(s["source"])} for s in metrics.get("sources", ())]
        metrics = {**metrics, "sources": sources}
    return replace(
        card,
        base=base if hub else without_folder(base),
        train_sources=train_sources,
        metrics=metrics,
    )


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
    with (
        write_errors(f"the adapter {folder}", hint=RESUME_HINT),
        manifest.atomic_directory(folder) as staging,
    ):
        write_adapter_weights(model, staging, recipe.save_dtype, state)
        if recipe.finetuning_type == "full":
            # A full model is loaded without a base, so it needs its own processor.
            loaded.processor.save_pretrained(staging)
        _write_inference_files(staging, recipe, loaded, probe_record)
        write_card(staging, _card_data(recipe, loaded, model, prepared, validation, step))


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
) -> AdapterCard:
    posts = Counter(prepared.sources)
    rows: Counter[int] = Counter()
    for source, sequences in zip(prepared.sources, prepared.sequences, strict=True):
        rows[source] += sum(len(sequence.rows) for sequence in sequences)
    train_sources = [
        TrainSource(
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
    return AdapterCard(
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
