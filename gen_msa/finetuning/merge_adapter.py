"""Merges an adapter into its base model and verifies the result.

The merged model is written, loaded again, and its scores of the probe are compared with those of
the adapted model before the folder gets its final name.

    merge_adapter(Path("adapters/mabsa"), Path("mabsa-merged"))  # safetensors, in the base's dtype
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gen_msa import manifest
from gen_msa.errors import UserError, user_errors, write_errors
from gen_msa.jsonl import check_folder_writable

_COPIED_SUFFIXES = (".json", ".jinja", ".model", ".txt")
_CARD_FILES = ("README.md", "recipe.yaml", "metrics.json")


class MergedModel(NamedTuple):
    """What was written, and how closely it matches the adapted model."""

    folder: Path
    max_difference: float
    """Largest difference (nats) of a log-probability of the probe, over all its positions."""
    tolerance: float
    dtype: str
    notes: dict[str, str]


class _AdaptedModel(NamedTuple):
    """The merged model in float32, and the scores of the adapted model before merging."""

    model: Any
    processor: Any
    base: Path
    dtype: Any
    """Of the base's own files."""
    metadata: Any
    log_probs: Any
    """Log-probabilities of the probe with the adapter active: (length, vocabulary)."""
    ids: tuple[int, ...]
    text: str
    with_image: bool
    notes: dict[str, str]


def merge_adapter(adapter: Path, out: Path, *, base: str = "", bf16: bool = False) -> MergedModel:
    """Write adapter and base as one safetensors model with its processor, template and settings.

    Merged in float32, then written in the base's own dtype, or in bfloat16.

    Args:
        adapter: The adapter folder.
        out: The folder to write; an earlier export there is replaced.
        base: The base model, if the adapter does not name one that can be found here.
        bf16: Whether to write bfloat16.

    Returns:
        The folder, its largest difference from the adapted model (nats), the tolerance and dtype.

    Raises:
        UserError: If a check fails or the disk is full; `out` is then unchanged.
    """
    import torch

    from gen_msa.backends.hf import adapters, probe, weights

    _check_out(out)
    source = _load_adapted(adapter, base)
    dtype = torch.bfloat16 if bf16 else source.dtype
    name = str(dtype)[6:]
    with _output_folder(out) as staging:
        source.model.to(dtype).save_pretrained(staging)
        _copy_files(source.base, staging, _COPIED_SUFFIXES)
        _copy_named_files(adapter, staging, _CARD_FILES)
        model, processor = weights.load_pretrained(staging, dtype)
        difference = _probe_difference(source, model.eval(), processor)
        tolerance = _check_difference(difference, name, out)
        if source.metadata is not None:
            probe_record = probe.record_probe(model, processor, source.text)
            metadata = source.metadata.model_copy(update={"probe": probe_record})
            (staging / adapters.ADAPTER_METADATA_FILE).write_text(
                metadata.model_dump_json(indent=1), encoding="utf-8"
            )
    return MergedModel(out, difference, tolerance, name, source.notes)


def _load_adapted(adapter: Path, base: str) -> _AdaptedModel:
    """Load the adapted model with all checks of inference, and score the probe."""
    import torch

    from gen_msa.backends.hf import adapters, probe, weights

    folder, adapter_folder = _find_folders(adapter, base)
    model, processor = weights.load_pretrained(folder, torch.float32)
    model.eval()
    if adapter_folder is None:
        adapted = adapters.LoadedAdapter(model, adapters.read_metadata(folder), {})
    else:
        adapted = adapters.apply_adapter(
            model, processor, adapter_folder, weights.base_hash(folder)
        )
    probe_record = adapted.metadata.probe if adapted.metadata else None
    with_image = probe_record.with_image if probe_record else hasattr(processor, "image_processor")
    text = probe_record.text if probe_record else probe.PROBE_TEXT
    measured = probe.measure_probe(adapted.model, processor, text, with_image=with_image)
    merged = adapted.model if adapter_folder is None else adapted.model.merge_and_unload()
    config = json.loads((folder / "config.json").read_bytes())
    dtype_name = config.get("dtype") or config.get("torch_dtype") or "float32"
    return _AdaptedModel(
        merged,
        processor,
        folder,
        getattr(torch, str(dtype_name)),
        adapted.metadata,
        measured.adapted,
        measured.ids,
        text,
        with_image,
        adapted.notes,
    )


def _find_folders(adapter: Path, base: str) -> tuple[Path, Path | None]:
    """Return the folders of base and adapter; None when `adapter` is a full model itself."""
    from gen_msa.backends.hf import adapters, weights

    if not (adapter / "adapter_config.json").is_file():
        if not (adapter / "config.json").is_file():
            raise UserError(
                f"{adapter} is neither an adapter nor a model", hint="give the folder of an adapter"
            )
        return adapter, None
    metadata = adapters.read_metadata(adapter)
    with user_errors(adapter / "adapter_config.json", hint="name a peft adapter"):
        settings = dict(json.loads((adapter / "adapter_config.json").read_bytes()))
    name = base or (metadata.base if metadata else settings.get("base_model_name_or_path"))
    if not name:
        raise UserError(f"{adapter} does not name its base model", hint="give it with --base MODEL")
    if name == "builtin" and not Path(name).is_dir():
        from gen_msa import builtin

        return Path(builtin.model_folder()), adapter
    return weights.resolve_target(name)[0], adapter


def _check_out(out: Path) -> None:
    """Refuse a folder that is no export or cannot be written, before anything is loaded."""
    if out.exists() and not (out / manifest.MANIFEST_NAME).is_file():
        raise UserError(
            f"{out} exists and was not made by export", hint="choose another folder: --out"
        )
    check_folder_writable(out.parent, hint="choose another folder: --out")


@contextmanager
def _output_folder(out: Path) -> Iterator[Path]:
    with (
        write_errors(out, hint="choose another --out"),
        manifest.atomic_directory(out) as staging,
    ):
        yield staging


def _probe_difference(source: _AdaptedModel, model: Any, processor: Any) -> float:
    """Return the largest difference (nats) between a reloaded model and the adapted one."""
    from gen_msa.backends.hf import probe

    measured = probe.measure_probe(model, processor, source.text, with_image=source.with_image)
    if measured.ids != source.ids:
        raise UserError(
            "the copy's tokenizer gives other tokens for the probe than that of the base"
        )
    width = source.log_probs.shape[-1]
    return float((measured.adapted[:, :width] - source.log_probs).abs().max())


def _check_difference(difference: float, dtype: str, out: Path) -> float:
    """Return the tolerance of a dtype in nats.

    Raises:
        UserError: If the difference exceeds it.
    """
    from gen_msa.backends.hf import probe

    tolerance = probe.TOLERANCE[dtype]
    if not difference <= tolerance:
        raise UserError(
            f"{out} was not written: reloaded in {dtype}, its probe scores differ from those "
            f"of the adapted model by {difference:.3g} nats; {tolerance:g} are allowed",
            hint="export in a wider dtype",
        )
    return tolerance


def _copy_files(folder: Path, staging: Path, suffixes: tuple[str, ...]) -> None:
    """Copy tokenizer, processor and template, byte for byte."""
    existing = {p.name for p in staging.iterdir()} | {
        "config.json",
        manifest.MANIFEST_NAME,
        "inference.json",
    }
    for path in sorted(folder.iterdir()):
        is_copied = path.suffix in suffixes and not path.name.endswith(".index.json")
        if path.is_file() and is_copied and path.name not in existing:
            shutil.copyfile(path, staging / path.name)


def _copy_named_files(folder: Path, staging: Path, names: tuple[str, ...]) -> None:
    for name in names:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, staging / name)
