"""Resolve what is to be served: folders, the adapter's own settings, and contradictions.

An adapter brings prompt, cues and image limits: settings that differ are refused here, and so are a
changed prompt, base model, chat template or file.

    resolved = resolve_model(settings)
    resolved.model, resolved.adapter, resolved.names
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from gen_msa import prompting
from gen_msa.backends.vllm import lora_rank
from gen_msa.errors import MissingExtra, UserError
from gen_msa.predictors import PredictorSettings
from gen_msa.predictors.prompted import apply_training_settings
from gen_msa.serving.vllm.settings import VLLM_PREFIX, VllmSettings

if TYPE_CHECKING:
    from gen_msa.backends.hf.adapters import AdapterMetadata

_PROMPT_FIELDS = ("prompt", "aspects_prompt", "overall_prompt", "reask_prompt")


class ResolvedModel(NamedTuple):
    """A model and perhaps its adapter, checked as far as files allow."""

    model: Path
    adapter: Path | None
    rank: int
    """vLLM's `max_lora_rank`; 0 without an adapter."""
    names: tuple[str, ...]
    """Model names for clients: the adapter, then its base; or the model without an adapter."""
    max_model_len: int | None
    """`max_model_len` that follows from how it was trained; None if unknown."""
    metadata: "AdapterMetadata | None"
    notes: dict[str, str]
    """What could not be checked, by name."""


def resolve_model(settings: VllmSettings) -> ResolvedModel:
    """Check everything that can be checked before the server starts.

    Args:
        settings: Settings of the server; `settings.model` is `vllm:MODEL[@ADAPTER]`.

    Returns:
        The model, and what follows from how it was trained.

    Raises:
        UserError: A check failed.
        MissingExtra: torch or transformers is not installed.
    """
    try:
        from gen_msa.backends.hf import remote_probe, weights
    except ModuleNotFoundError as e:
        if (e.name or "").partition(".")[0] not in ("torch", "transformers"):
            raise
        raise MissingExtra(str(e.name), "vllm") from None
    target = settings.model.removeprefix(VLLM_PREFIX)
    model, adapter = weights.resolve_target(target)
    weights.check_folder(model, "model")
    _check_model_folder(model)
    if adapter is not None:
        weights.check_folder(adapter, "adapter")
    metadata, notes = remote_probe.load_verified_metadata(model, adapter)
    predictor_settings = apply_training_settings(settings.predictor_settings(), metadata)
    return ResolvedModel(
        model=model,
        adapter=adapter,
        rank=lora_rank(adapter) if adapter else 0,
        names=_served_names(settings, target, adapter),
        max_model_len=_max_model_len(adapter or model, model, predictor_settings),
        metadata=metadata,
        notes=notes,
    )


def _check_model_folder(folder: Path) -> None:
    """Refuse a folder without a model; vLLM would fail after minutes, and `--print` never."""
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise UserError(
            f"{folder} is not a model folder: it has no config.json or no *.safetensors",
            hint="name a folder that transformers saved; serve a student with "
            "`gen-msa serve student:DIR`",
        )


def _served_names(settings: VllmSettings, target: str, adapter: Path | None) -> tuple[str, ...]:
    """Return the names for clients: names of folders, never their paths."""
    base_reference = target.rpartition("@")[0] if adapter else target
    base = (
        Path(base_reference).expanduser().resolve().name
        if Path(base_reference).expanduser().is_dir()
        else base_reference
    )
    if adapter is None:
        return (settings.name or base,)
    adapter_name = settings.name or adapter.name
    if adapter_name == base:
        hint = "name the adapter for clients, e.g. name=mabsa"
        raise UserError(f"adapter and base have the same name {base!r}", hint=hint)
    return adapter_name, base


def _max_model_len(folder: Path, model: Path, predictor_settings: PredictorSettings) -> int | None:
    """Return the tokens of the longest trained row and an answer; at most the model's limit."""
    trained_length = _yaml_int(folder / "recipe.yaml", "max_length")
    if trained_length is None:
        return None
    prompts = [
        prompting.load_prompt(getattr(predictor_settings, n))
        for n in _PROMPT_FIELDS
        if getattr(predictor_settings, n)
    ]
    answer_length = predictor_settings.max_new_tokens or max(
        (p.max_new_tokens for p in prompts), default=0
    )
    max_positions = _max_positions(model)
    return (
        min(trained_length + answer_length, max_positions)
        if max_positions
        else trained_length + answer_length
    )


def _yaml_int(path: Path, name: str) -> int | None:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise UserError(f"{path} cannot be read: {e}", hint="give max_model_len=…") from None
    value = tree.get(name) if isinstance(tree, dict) else None
    return value if isinstance(value, int) and value > 0 else None


def _max_positions(model: Path) -> int | None:
    config: dict[str, Any] = json.loads((model / "config.json").read_bytes())
    for part in (config.get("text_config"), config):
        value = part.get("max_position_embeddings") if isinstance(part, dict) else None
        if isinstance(value, int) and value > 0:
            return value
    return None
