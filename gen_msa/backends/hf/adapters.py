"""Read, write and verify an adapter's folder.

`inference.json` records which base, chat template, prompts and settings the adapter was trained
with, and how it answered a probe. An adapter of another tool has none: it is used as far as can be
checked, and a note says what could not be.

    write_metadata(folder, base="smolvlm", base_sha256=weights.base_hash(path), …)
    loaded = apply_adapter(model, processor, folder, weights.base_hash(path))
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from gen_msa import __version__, manifest
from gen_msa.backends.hf import probe as probes
from gen_msa.backends.hf.chat_tokens import TEMPLATE_DATE
from gen_msa.backends.hf.probe import AdapterProbe
from gen_msa.errors import MissingExtra, UserError, user_errors
from gen_msa.safety_scan import scan_folder
from gen_msa.settings import Settings

ADAPTER_METADATA_FILE = "inference.json"
ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors"


class AdapterMetadata(Settings):
    """Content of `inference.json`; a fully fine-tuned or merged model's folder has one, too."""

    base: str
    """What the user called the base model: a folder, a hub name, `builtin`."""
    base_sha256: str
    """`weights.base_hash` of the base model."""
    template_sha256: str
    """`template_hash` of the processor that was trained with."""
    prompts: dict[str, str]
    """Name -> digest of every prompt that was trained."""
    inference: dict[str, JsonValue]
    """Fields of `PredictorSettings`: prompt, cues, image limits, max_new_tokens."""
    gen_msa: str
    template_date: str | None = None
    """The date that the template showed in training, as ISO text."""
    probe: AdapterProbe | None = None


class LoadedAdapter(NamedTuple):
    """A model with its adapter, applied or merged, and its metadata."""

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
    """Write `inference.json`; write the folder's manifest after it.

    Args:
        folder: The adapter's folder.
        base: What the user called the base model: a folder, a hub name, `builtin`.
        base_sha256: `weights.base_hash` of the base model.
        processor: Processor (or tokenizer) that was trained with.
        prompts: Name -> digest of every prompt that was trained.
        inference: Fields of `PredictorSettings` as JSON.
        probe: Result of `probe.record_probe(model, processor)` after training; None for none.

    Returns:
        The metadata.
    """
    metadata = AdapterMetadata(
        base=base,
        base_sha256=base_sha256,
        template_sha256=template_hash(processor),
        prompts=dict(prompts),
        inference=dict(inference),
        gen_msa=__version__,
        template_date=TEMPLATE_DATE.date().isoformat(),
        probe=probe,
    )
    (folder / ADAPTER_METADATA_FILE).write_text(
        metadata.model_dump_json(indent=1), encoding="utf-8"
    )
    return metadata


def read_metadata(folder: Path) -> AdapterMetadata | None:
    """Read `inference.json`.

    Args:
        folder: Folder of an adapter or model.

    Returns:
        The metadata; None when there is none.

    Raises:
        UserError: The file is invalid.
    """
    path = folder / ADAPTER_METADATA_FILE
    if not path.is_file():
        return None
    with user_errors(path, hint=f"it may be of another version; this is gen_msa {__version__}"):
        return AdapterMetadata.model_validate_json(path.read_bytes())


def template_hash(processor: Any) -> str:
    """Return the SHA-256 of the chat template of a processor or its tokenizer; "" for none."""
    tokenizer = getattr(processor, "tokenizer", processor)
    template = getattr(processor, "chat_template", None) or tokenizer.chat_template
    if not template:
        return ""
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def merge_adapter(model: Any, processor: Any, folder: Path, base_sha256: str) -> LoadedAdapter:
    """Load an adapter as `apply_adapter` does and merge it into the model.

    Args:
        model: The base model.
        processor: Its processor, or its tokenizer.
        folder: The adapter's folder.
        base_sha256: `weights.base_hash` of the base model.

    Returns:
        The merged model and the adapter's metadata.

    Raises:
        UserError: As for `apply_adapter`.
    """
    applied = apply_adapter(model, processor, folder, base_sha256)
    # Merged, so that the adapter costs no time in decoding.
    return applied._replace(model=applied.model.merge_and_unload())


def apply_adapter(model: Any, processor: Any, folder: Path, base_sha256: str) -> LoadedAdapter:
    """Load an adapter onto a model after every check that is possible.

    Args:
        model: The base model.
        processor: Its processor, or its tokenizer.
        folder: The adapter's folder.
        base_sha256: `weights.base_hash` of the base model.

    Returns:
        A `PeftModel` in evaluation mode and the adapter's metadata.

    Raises:
        UserError: The folder is incomplete or was changed, base or template differ, tensors do not
            match
            the model's one to one, the adapter has no effect, or it answers its probe differently.
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
    """Make the checks that need no model: files, hashes, base, template.

    Args:
        folder: The adapter's folder.
        processor: Processor (or tokenizer) of the base model.
        base_sha256: `weights.base_hash` of the base model.

    Returns:
        The metadata (None for an adapter of another tool), and notes on what could not be checked.

    Raises:
        UserError: A check failed.
    """
    scan_folder(folder, "adapter")
    if not (folder / ADAPTER_WEIGHTS_FILE).is_file():
        raise UserError(f"{folder} has no {ADAPTER_WEIGHTS_FILE}", hint="name a peft adapter")
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
            hint=f"give its base model before the @: {metadata.base}",
        )
    check_template(metadata, processor, folder)
    return metadata, {}


def check_template(metadata: AdapterMetadata, processor: Any, folder: Path) -> None:
    """Refuse a processor whose chat template differs from the one in training.

    Args:
        metadata: Metadata of the adapter or model.
        processor: Processor, or tokenizer, to check.
        folder: The adapter's folder, for the message.

    Raises:
        UserError: The templates differ.
    """
    if template_hash(processor) != metadata.template_sha256:
        raise UserError(
            f"{folder} was trained with another chat template than its base has now",
            hint="restore the chat_template of the base model",
        )
    if metadata.template_date not in (None, TEMPLATE_DATE.date().isoformat()):
        raise UserError(
            f"{folder} was trained with the date {metadata.template_date} in its template",
            hint=f"train it again; this version shows {TEMPLATE_DATE.date()}",
        )


def check_probe(probe: AdapterProbe, model: Any, processor: Any, folder: Path) -> None:
    """Refuse a model that does not answer as recorded; for a model without a separate adapter.

    Args:
        probe: Recorded probe.
        model: The fine-tuned or merged model.
        processor: Its processor, or its tokenizer.
        folder: The model's folder, for the message.

    Raises:
        UserError: The model answers differently.
    """
    measurement = probes.measure_probe(
        model.eval(), processor, probe.text, with_image=probe.with_image
    )
    _check_recorded(probe, measurement, model, folder)


def _load_peft_model(model: Any, folder: Path) -> Any:
    """Load the adapter onto the model; every tensor of either must have its counterpart."""
    try:
        from peft import PeftConfig, PeftModel
    except ImportError:
        raise MissingExtra("peft", "train") from None
    with user_errors(
        f"the adapter in {folder}",
        "does not fit this model",
        hint="name the base it was trained on",
    ):
        config = PeftConfig.from_pretrained(str(folder))
        config.inference_mode = True
        peft_model = PeftModel(model, config)
        if not hasattr(peft_model.base_model, "merge_and_unload"):
            raise ValueError(f"{config.peft_type} cannot be merged into a model")
        device = str(next(model.parameters()).device)
        try:
            keys = peft_model.load_adapter(str(folder), "default", torch_device=device)
        except RuntimeError as e:
            if grown := re.search(r"size mismatch for \S*(?:embed_tokens|lm_head|wte)\S*", str(e)):
                raise UserError(
                    f"the adapter in {folder} was trained with another vocabulary: {grown[0]}",
                    hint="merge it into its base with the tool that trained it, and name the "
                    "result",
                ) from None
            raise
    for problem, names in (
        ("lacks", keys.missing_keys),
        ("does not have", keys.unexpected_keys),
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
            f"the adapter in {folder} has no effect: the model answers as without it",
            hint="train it; an adapter that was never trained or lost its weights behaves so",
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
            f"{folder}: {e}", hint="use the base model and processor it was trained on"
        ) from None
