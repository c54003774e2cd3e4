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
from gen_msa.backends.vllm_engine import lora_rank
from gen_msa.errors import MissingExtra, UserError
from gen_msa.readers import ReaderSettings
from gen_msa.readers.prompted import as_trained
from gen_msa.serving.vllm.settings import PREFIX, VllmSettings

if TYPE_CHECKING:
    from gen_msa.backends.local.adapters import AdapterFacts

_TEXTS = ("prompt", "aspects_prompt", "overall_prompt", "reask_prompt")


class Found(NamedTuple):
    """A model and perhaps its adapter, checked as far as files go."""

    model: Path
    adapter: Path | None
    rank: int
    """vLLM's `max_lora_rank`; 0 without an adapter."""
    names: tuple[str, ...]
    """What clients may call: the adapter first, then its base; or the bare model."""
    length: int | None
    """`max_model_len` that follows from how it was trained."""
    facts: "AdapterFacts | None"
    notes: dict[str, str]
    """What could not be checked."""


def find(settings: VllmSettings) -> Found:
    """Look at everything before anything is started. Raises `UserError`, with a mend."""
    try:
        from gen_msa.backends.local import served, weights
    except ModuleNotFoundError as e:
        if (e.name or "").partition(".")[0] not in ("torch", "transformers"):
            raise
        raise MissingExtra(str(e.name), "vllm") from None
    target = settings.reader.removeprefix(PREFIX)
    model, adapter = weights.find(target)
    weights.guard(model, "model")
    _is_model(model)
    if adapter is not None:
        weights.guard(adapter, "adapter")
    facts, notes = served.told(model, adapter)
    as_read = as_trained(settings.of_reader(), facts)
    return Found(
        model=model,
        adapter=adapter,
        rank=lora_rank(adapter) if adapter else 0,
        names=_names(settings, target, adapter),
        length=_length(adapter or model, model, as_read),
        facts=facts,
        notes=notes,
    )


def _is_model(folder: Path) -> None:
    """Or vLLM would say so after minutes, and `--print` never."""
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise UserError(
            f"{folder} is no model's folder: it has no config.json, or no weights (*.safetensors)",
            mend="name a folder as transformers saves it; a student is served by "
            "`gen-msa serve student:DIR`",
        )


def _names(settings: VllmSettings, target: str, adapter: Path | None) -> tuple[str, ...]:
    """Folders' own names, never their paths: clients see them."""
    typed = target.rpartition("@")[0] if adapter else target
    base = Path(typed).expanduser().resolve().name if Path(typed).expanduser().is_dir() else typed
    if adapter is None:
        return (settings.name or base,)
    worn = settings.name or adapter.name
    if worn == base:
        mend = "name the adapter for clients: name=mabsa"
        raise UserError(f"adapter and base would both be called {base!r}", mend=mend)
    return worn, base


def _length(folder: Path, model: Path, reading: ReaderSettings) -> int | None:
    """Tokens of the longest row that was trained, and of an answer; at most what the model has."""
    trained = _field(folder / "recipe.yaml", "max_length")
    if trained is None:
        return None
    prompts = [prompting.load(getattr(reading, n)) for n in _TEXTS if getattr(reading, n)]
    answer = reading.max_new_tokens or max((p.max_new_tokens for p in prompts), default=0)
    most = _positions(model)
    return min(trained + answer, most) if most else trained + answer


def _field(path: Path, name: str) -> int | None:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise UserError(f"{path} cannot be read: {e}", mend="give max_model_len=…") from None
    value = tree.get(name) if isinstance(tree, dict) else None
    return value if isinstance(value, int) and value > 0 else None


def _positions(model: Path) -> int | None:
    config: dict[str, Any] = json.loads((model / "config.json").read_bytes())
    for part in (config.get("text_config"), config):
        value = part.get("max_position_embeddings") if isinstance(part, dict) else None
        if isinstance(value, int) and value > 0:
            return value
    return None
