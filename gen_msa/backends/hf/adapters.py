"""An adapter's folder: what reading with it needs, and the checks before it is trusted.

`inference.json` says which base, template, prompts and settings it was trained with, and how it
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
from gen_msa.backends.hf import probe as probes
from gen_msa.backends.hf.probe import AdapterProbe
from gen_msa.backends.hf.safety_scan import scan_folder
from gen_msa.errors import MissingExtra, UserError
from gen_msa.jsonl import format_validation_error
from gen_msa.settings import Settings

ADAPTER_METADATA_FILE = "inference.json"
ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors"


class AdapterMetadata(Settings):
    """What `inference.json` holds. Stands in a whole fine-tuned or merged model's folder as well."""

    base: str
    """What the user called the base: a folder, a hub name, `builtin`."""
    base_sha256: str
    """`weights.base_hash` of the base."""
    template_sha256: str
    """`template_hash` of the processor that was trained with."""
    prompts: dict[str, str]
    """Name -> digest of every prompt that was trained."""
    inference: dict[str, JsonValue]
    """Fields of `ReaderSettings`: prompt, cues, picture budget, max_new_tokens."""
    gen_msa: str
    probe: AdapterProbe | None = None


class LoadedAdapter(NamedTuple):
    """A model with its adapter, worn or merged, and what is known of it."""

    model: Any
    metadata: AdapterMetadata | None
    notes: dict[str, str]
    """What could not be checked, by name; empty when all was."""


def write_metadata(
    folder: Path,
    *,
    base: str,
    base_sha256: str,
    processor: Any,
    prompts: Mapping[str, str],
    inference: Mapping[str, Any],
    probe: AdapterProbe | None,
) -> AdapterMetadata:
    """Write `inference.json`; `reading` is a JSON dump of the settings. The folder is sealed after.

    Take the probe with `probe.record(model, processor)` when training is done.
    """
    metadata = AdapterMetadata(
        base=base,
        base_sha256=base_sha256,
        template_sha256=template_hash(processor),
        prompts=dict(prompts),
        inference=dict(inference),
        gen_msa=__version__,
        probe=probe,
    )
    (folder / ADAPTER_METADATA_FILE).write_text(
        metadata.model_dump_json(indent=1), encoding="utf-8"
    )
    return metadata


def read_metadata(folder: Path) -> AdapterMetadata | None:
    """What `inference.json` says, or None when there is none. Raises `UserError` when it is bad."""
    path = folder / ADAPTER_METADATA_FILE
    if not path.is_file():
        return None
    try:
        return AdapterMetadata.model_validate_json(path.read_bytes())
    except ValidationError as e:
        raise UserError(
            f"{path}: {format_validation_error(e)}",
            hint=f"it is of another version; this is gen_msa {__version__}",
        ) from None


def template_hash(processor: Any) -> str:
    """sha256 of the chat template in use, the processor's own or its tokenizer's; "" for none."""
    tokenizer = getattr(processor, "tokenizer", processor)
    template = getattr(processor, "chat_template", None) or tokenizer.chat_template
    if not template:
        return ""
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def merge_adapter(model: Any, processor: Any, folder: Path, base_sha256: str) -> LoadedAdapter:
    """`model` with the adapter merged into it, after every check that can be made."""
    applied = apply_adapter(model, processor, folder, base_sha256)
    # Merged, so that an adapter costs nothing at decoding time.
    return applied._replace(model=applied.model.merge_and_unload())


def apply_adapter(model: Any, processor: Any, folder: Path, base_sha256: str) -> LoadedAdapter:
    """A `PeftModel` of the adapter, in evaluation mode, after every check that can be made.

    Refused with `UserError`: a folder that is not whole, another base or template, tensors that do
    not match the model's one to one, an adapter that changes nothing or answers its probe wrongly.
    """
    metadata, notes = verify_adapter_files(folder, processor, base_sha256)
    peft_model = _load_peft_model(model, folder)
    recorded_probe = metadata.probe if metadata else None
    _check_effect(peft_model, processor, folder, recorded_probe)
    if metadata is not None and recorded_probe is None:
        notes["adapter.probe"] = f"not checked: {ADAPTER_METADATA_FILE} records none"
    return LoadedAdapter(peft_model, metadata, notes)


def verify_adapter_files(
    folder: Path, processor: Any, base_sha256: str
) -> tuple[AdapterMetadata | None, dict[str, str]]:
    """The checks that need no model: files, hashes, base, template. Gives facts and notes."""
    scan_folder(folder, "adapter")
    if not (folder / ADAPTER_WEIGHTS_FILE).is_file():
        raise UserError(f"{folder} holds no {ADAPTER_WEIGHTS_FILE}", hint="name a peft adapter")
    metadata = read_metadata(folder)
    if metadata is not None or (folder / manifest.MANIFEST_NAME).is_file():
        manifest.verify(folder)
    if metadata is None:
        note = f"the base, the template and the prompt are not checked: no {ADAPTER_METADATA_FILE}"
        return None, {"adapter": note}
    if metadata.base_sha256 != base_sha256:
        raise UserError(
            f"the adapter in {folder} was trained on another base ({metadata.base}, hash "
            f"{metadata.base_sha256[:12]}) than this one ({base_sha256[:12]})",
            hint=f"name its own base before the @: {metadata.base}",
        )
    check_template(metadata, processor, folder)
    return metadata, {}


def check_template(metadata: AdapterMetadata, processor: Any, folder: Path) -> None:
    """Refuse a processor whose chat template is not the one trained with."""
    if template_hash(processor) != metadata.template_sha256:
        raise UserError(
            f"{folder} was trained with another chat template than its base has now",
            hint="put back the base's own chat_template",
        )


def check_probe(probe: AdapterProbe, model: Any, processor: Any, folder: Path) -> None:
    """Refuse a model that does not answer as recorded; for one that wears no adapter any more."""
    measurement = probes.measure_probe(
        model.eval(), processor, probe.text, with_image=probe.with_image
    )
    _check_recorded(probe, measurement, model, folder)


def _load_peft_model(model: Any, folder: Path) -> Any:
    """The model wearing the adapter, every tensor of the file in its place and none left over."""
    try:
        from peft import PeftConfig, PeftModel
    except ImportError:
        raise MissingExtra("peft", "train") from None
    try:
        config = PeftConfig.from_pretrained(str(folder))
        config.inference_mode = True
        peft_model = PeftModel(model, config)
        if not hasattr(peft_model.base_model, "merge_and_unload"):
            raise ValueError(f"{config.peft_type} cannot be merged into a model")
        device = str(next(model.parameters()).device)
        keys = peft_model.load_adapter(str(folder), "default", torch_device=device)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as e:
        message = f"{type(e).__name__}: {str(e)[:500]}"
        raise UserError(f"the adapter in {folder} does not fit this model: {message}") from None
    for problem, names in (
        ("lacks", keys.missing_keys),
        ("has no place for", keys.unexpected_keys),
    ):
        if names:
            owner = "the adapter" if problem == "lacks" else "the model"
            raise UserError(
                f"the adapter in {folder} does not fit this model: {owner} {problem} "
                f"{len(names)} tensors, the first {sorted(names)[0]}",
                hint="name the base it was trained on",
            )
    return peft_model.eval()


def _check_effect(
    peft_model: Any, processor: Any, folder: Path, probe: AdapterProbe | None
) -> None:
    supports_images = hasattr(processor, "image_processor")
    text, with_image = (
        (probe.text, probe.with_image) if probe else (probes.PROBE_TEXT, supports_images)
    )
    measurement = probes.measure_probe(peft_model, processor, text, with_image=with_image)
    if not measurement.effect() > probes.NO_EFFECT:
        raise UserError(
            f"the adapter in {folder} changes nothing: the model answers as without it",
            hint="train it; an adapter that was never trained, or lost its weights, does this",
        )
    if probe is not None:
        _check_recorded(probe, measurement, peft_model, folder)


def _check_recorded(
    probe: AdapterProbe, measurement: probes.ProbeMeasurement, model: Any, folder: Path
) -> None:
    try:
        probes.compare_probe(probe, measurement, probes.compute_precision(model))
    except ValueError as e:
        raise UserError(
            f"{folder}: {e}", hint="use the base and processor it was trained on"
        ) from None
