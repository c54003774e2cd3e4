"""What is to be served: folders, what the adapter's own says, and nothing that contradicts it.

Knows no flag and starts nothing. An adapter brings prompt, cues and picture budget: settings that
were given otherwise are refused here, and so are a changed prompt, base, template or byte.

    found = find(settings)
    found.model, found.adapter, found.names
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
    """A model and perhaps its adapter, checked as far as files go."""

    model: Path
    adapter: Path | None
    rank: int
    """vLLM's `max_lora_rank`; 0 without an adapter."""
    names: tuple[str, ...]
    """What clients may call: the adapter first, then its base; or the bare model."""
    max_model_len: int | None
    """`max_model_len` that follows from how it was trained."""
    metadata: "AdapterMetadata | None"
    notes: dict[str, str]
    """What could not be checked."""


def resolve_model(settings: VllmSettings) -> ResolvedModel:
    """Look at everything before anything is started. Raises `UserError`, with a mend."""
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
    """Or vLLM would say so after minutes, and `--print` never."""
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise UserError(
            f"{folder} is no model's folder: it has no config.json, or no weights (*.safetensors)",
            hint="name a folder as transformers saves it; a student is served by "
            "`gen-msa serve student:DIR`",
        )


def _served_names(settings: VllmSettings, target: str, adapter: Path | None) -> tuple[str, ...]:
    """Folders' own names, never their paths: clients see them."""
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
        hint = "name the adapter for clients: name=mabsa"
        raise UserError(f"adapter and base would both be called {base!r}", hint=hint)
    return adapter_name, base


def _max_model_len(folder: Path, model: Path, predictor_settings: PredictorSettings) -> int | None:
    """Tokens of the longest row that was trained, and of an answer; at most what the model has."""
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
