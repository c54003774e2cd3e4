"""An adapter's folder: what reading with it needs, and the checks before it is trusted.

`reading.json` says which base, template, prompts and settings it was trained with, and how it
answered a probe. An adapter made elsewhere has none: it is used as far as can be checked, and a
note says what could not be. Knows nothing of training or of what the settings mean.

    write(folder, base="smolvlm", base_sha256=weights.base_hash(path), processor=processor, …)
    tuned = attach(model, processor, folder, weights.base_hash(path))
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue, ValidationError

from gen_msa import __version__, manifest
from gen_msa.backends.local import probe as probes
from gen_msa.backends.local.probe import Probe
from gen_msa.backends.local.scan import scan
from gen_msa.errors import MissingExtra, UserError
from gen_msa.jsonl import reason_of
from gen_msa.settings import Settings

NAME = "reading.json"
WEIGHTS = "adapter_model.safetensors"


class AdapterFacts(Settings):
    """What `reading.json` holds. Stands in a whole fine-tuned or merged model's folder as well."""

    base: str
    """What the user called the base: a folder, a hub name, `builtin`."""
    base_sha256: str
    """`weights.base_hash` of the base."""
    template_sha256: str
    """`template_hash` of the processor that was trained with."""
    prompts: dict[str, str]
    """Name -> digest of every prompt that was trained."""
    reading: dict[str, JsonValue]
    """Fields of `ReaderSettings`: prompt, cues, picture budget, max_new_tokens."""
    gen_msa: str
    probe: Probe | None = None


class Tuned(NamedTuple):
    """A model with its adapter, worn or merged, and what is known of it."""

    model: Any
    facts: AdapterFacts | None
    notes: dict[str, str]
    """What could not be checked, by name; empty when all was."""


def write(
    folder: Path,
    *,
    base: str,
    base_sha256: str,
    processor: Any,
    prompts: Mapping[str, str],
    reading: Mapping[str, Any],
    probe: Probe | None,
) -> AdapterFacts:
    """Write `reading.json`; `reading` is a JSON dump of the settings. The folder is sealed after.

    Take the probe with `probe.record(model, processor)` when training is done.
    """
    facts = AdapterFacts(
        base=base,
        base_sha256=base_sha256,
        template_sha256=template_hash(processor),
        prompts=dict(prompts),
        reading=dict(reading),
        gen_msa=__version__,
        probe=probe,
    )
    (folder / NAME).write_text(facts.model_dump_json(indent=1), encoding="utf-8")
    return facts


def read(folder: Path) -> AdapterFacts | None:
    """What `reading.json` says, or None when there is none. Raises `UserError` when it is bad."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        return AdapterFacts.model_validate_json(path.read_bytes())
    except ValidationError as e:
        raise UserError(
            f"{path}: {reason_of(e)}",
            mend=f"it is of another version; this is gen_msa {__version__}",
        ) from None


def template_hash(processor: Any) -> str:
    """sha256 of the chat template in use, the processor's own or its tokenizer's; "" for none."""
    tokenizer = getattr(processor, "tokenizer", processor)
    template = getattr(processor, "chat_template", None) or tokenizer.chat_template
    if not template:
        return ""
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def attach(model: Any, processor: Any, folder: Path, base_sha256: str) -> Tuned:
    """`model` with the adapter merged into it, after every check that can be made."""
    worn = wear(model, processor, folder, base_sha256)
    # Merged, so that an adapter costs nothing at decoding time.
    return worn._replace(model=worn.model.merge_and_unload())


def wear(model: Any, processor: Any, folder: Path, base_sha256: str) -> Tuned:
    """A `PeftModel` of the adapter, in evaluation mode, after every check that can be made.

    Refused with `UserError`: a folder that is not whole, another base or template, tensors that do
    not match the model's one to one, an adapter that changes nothing or answers its probe wrongly.
    """
    facts, notes = verify(folder, processor, base_sha256)
    tuned = _loaded(model, folder)
    probed = facts.probe if facts else None
    _check_effect(tuned, processor, folder, probed)
    if facts is not None and probed is None:
        notes["adapter.probe"] = f"not checked: {NAME} records none"
    return Tuned(tuned, facts, notes)


def verify(
    folder: Path, processor: Any, base_sha256: str
) -> tuple[AdapterFacts | None, dict[str, str]]:
    """The checks that need no model: files, hashes, base, template. Gives facts and notes."""
    scan(folder, "adapter")
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder} holds no {WEIGHTS}", mend="name a peft adapter")
    facts = read(folder)
    if facts is not None or (folder / manifest.NAME).is_file():
        manifest.check(folder)
    if facts is None:
        unknown = f"the base, the template and the prompt are not checked: no {NAME}"
        return None, {"adapter": unknown}
    if facts.base_sha256 != base_sha256:
        raise UserError(
            f"the adapter in {folder} was trained on another base ({facts.base}, hash "
            f"{facts.base_sha256[:12]}) than this one ({base_sha256[:12]})",
            mend=f"name its own base before the @: {facts.base}",
        )
    check_template(facts, processor, folder)
    return facts, {}


def check_template(facts: AdapterFacts, processor: Any, folder: Path) -> None:
    """Refuse a processor whose chat template is not the one trained with."""
    if template_hash(processor) != facts.template_sha256:
        raise UserError(
            f"{folder} was trained with another chat template than its base has now",
            mend="put back the base's own chat_template",
        )


def check_probe(probe: Probe, model: Any, processor: Any, folder: Path) -> None:
    """Refuse a model that does not answer as recorded; for one that wears no adapter any more."""
    found = probes.measure(model.eval(), processor, probe.text, pictured=probe.pictured)
    _check_recorded(probe, found, model, folder)


def _loaded(model: Any, folder: Path) -> Any:
    """The model wearing the adapter, every tensor of the file in its place and none left over."""
    try:
        from peft import PeftConfig, PeftModel
    except ImportError:
        raise MissingExtra("peft", "train") from None
    try:
        config = PeftConfig.from_pretrained(str(folder))
        config.inference_mode = True
        tuned = PeftModel(model, config)
        if not hasattr(tuned.base_model, "merge_and_unload"):
            raise ValueError(f"{config.peft_type} cannot be merged into a model")
        device = str(next(model.parameters()).device)
        keys = tuned.load_adapter(str(folder), "default", torch_device=device)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as e:
        said = f"{type(e).__name__}: {str(e)[:500]}"
        raise UserError(f"the adapter in {folder} does not fit this model: {said}") from None
    for what, names in (("lacks", keys.missing_keys), ("has no place for", keys.unexpected_keys)):
        if names:
            who = "the adapter" if what == "lacks" else "the model"
            raise UserError(
                f"the adapter in {folder} does not fit this model: {who} {what} "
                f"{len(names)} tensors, the first {sorted(names)[0]}",
                mend="name the base it was trained on",
            )
    return tuned.eval()


def _check_effect(tuned: Any, processor: Any, folder: Path, probe: Probe | None) -> None:
    sees = hasattr(processor, "image_processor")
    text, pictured = (probe.text, probe.pictured) if probe else (probes.TEXT, sees)
    found = probes.measure(tuned, processor, text, pictured=pictured)
    if not found.effect() > probes.NOTHING:
        raise UserError(
            f"the adapter in {folder} changes nothing: the model answers as without it",
            mend="train it; an adapter that was never trained, or lost its weights, does this",
        )
    if probe is not None:
        _check_recorded(probe, found, tuned, folder)


def _check_recorded(probe: Probe, found: probes.Measured, model: Any, folder: Path) -> None:
    try:
        probes.check(probe, found, probes.precision(model))
    except ValueError as e:
        raise UserError(
            f"{folder}: {e}", mend="use the base and processor it was trained on"
        ) from None
