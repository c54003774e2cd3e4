"""An adapter becomes a model of its own: merged, written, read back, and asked the same question.

Nothing is left behind that does not answer as the adapted model did: the copy is loaded from what
was written and its scores compared before the folder gets its name. Knows nothing of training.

    merge(Path("adapters/mabsa"), Path("mabsa-merged"))  # safetensors, in the base's dtype
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gen_msa import manifest
from gen_msa.errors import UserError

_COPIED = (".json", ".jinja", ".model", ".txt")
_OURS = ("README.md", "recipe.yaml", "figures.json")


class Exported(NamedTuple):
    """What was written, and how near it is to the adapted model."""

    folder: Path
    off: float
    """Largest difference (nats) of a log-probability of the probe, at any of its places."""
    allowed: float
    dtype: str
    notes: dict[str, str]


class _Source(NamedTuple):
    """The adapted model in float32, merged, and what it said before."""

    model: Any
    processor: Any
    base: Path
    dtype: Any
    """Of the base's own files."""
    facts: Any
    scores: Any
    """Log-probabilities of the probe while the adapter was worn: (length, vocabulary)."""
    ids: tuple[int, ...]
    text: str
    pictured: bool
    notes: dict[str, str]


def merge(adapter: Path, out: Path, *, base: str = "", bf16: bool = False) -> Exported:
    """Write adapter and base as one safetensors model with its processor, template and settings.

    `base` is needed only where the adapter does not name one that can be found here. Merged in
    float32, then written in the base's own dtype, or bfloat16. Raises `UserError` when a check
    fails or the disk is full; then nothing is left at `out` but what stood there.
    """
    import torch

    from gen_msa.backends.local import adapters, probe, weights

    source = _open(adapter, base)
    dtype = torch.bfloat16 if bf16 else source.dtype
    name = str(dtype)[6:]
    with _staged(out) as draft:
        source.model.to(dtype).save_pretrained(draft)
        _copy(source.base, draft, _COPIED)
        _copy_named(adapter, draft, _OURS)
        model, processor = weights.read(draft, dtype)
        off = _off(source, model.eval(), processor)
        allowed = _judge(off, name, out)
        if source.facts is not None:
            recorded = probe.record(model, processor, source.text)
            facts = source.facts.model_copy(update={"probe": recorded})
            (draft / adapters.NAME).write_text(facts.model_dump_json(indent=1), encoding="utf-8")
    return Exported(out, off, allowed, name, source.notes)


def _open(adapter: Path, base: str) -> _Source:
    """The adapted model, after all checks that reading makes, and its answer to the probe."""
    import torch

    from gen_msa.backends.local import adapters, probe, weights

    folder, worn = _folders(adapter, base)
    model, processor = weights.read(folder, torch.float32)
    model.eval()
    if worn is None:
        tuned = adapters.Tuned(model, adapters.read(folder), {})
    else:
        tuned = adapters.wear(model, processor, worn, weights.base_hash(folder))
    asked = tuned.facts.probe if tuned.facts else None
    pictured = asked.pictured if asked else hasattr(processor, "image_processor")
    text = asked.text if asked else probe.TEXT
    found = probe.measure(tuned.model, processor, text, pictured=pictured)
    merged = tuned.model if worn is None else tuned.model.merge_and_unload()
    config = json.loads((folder / "config.json").read_bytes())
    named = config.get("dtype") or config.get("torch_dtype") or "float32"
    return _Source(
        merged,
        processor,
        folder,
        getattr(torch, str(named)),
        tuned.facts,
        found.adapted,
        found.ids,
        text,
        pictured,
        tuned.notes,
    )


def _folders(adapter: Path, base: str) -> tuple[Path, Path | None]:
    """Folders of the base and of the adapter; None when `adapter` is a whole model itself."""
    from gen_msa.backends.local import adapters, weights

    if not (adapter / "adapter_config.json").is_file():
        if not (adapter / "config.json").is_file():
            raise UserError(f"{adapter} is neither an adapter nor a model", mend="name its folder")
        return adapter, None
    facts = adapters.read(adapter)
    settings = json.loads((adapter / "adapter_config.json").read_bytes())
    name = base or (facts.base if facts else settings.get("base_model_name_or_path"))
    if not name:
        raise UserError(f"{adapter} does not say what its base is", mend="give it: --base MODEL")
    if name == "builtin" and not Path(name).is_dir():
        from gen_msa import builtin

        return Path(builtin.folder()), adapter
    return weights.find(name)[0], adapter


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    from safetensors import SafetensorError

    if out.exists() and not (out / manifest.NAME).is_file():
        raise UserError(f"{out} is there and was not made by export", mend="name another: --out")
    try:
        with manifest.staged(out) as draft:
            yield draft
    except (OSError, SafetensorError) as e:
        raise UserError(f"{out} cannot be written: {e}", mend="free space, or name --out") from None


def _off(source: _Source, model: Any, processor: Any) -> float:
    """How far a model that was read back is from what the adapted one said."""
    from gen_msa.backends.local import probe

    found = probe.measure(model, processor, source.text, pictured=source.pictured)
    if found.ids != source.ids:
        raise UserError("the copy's tokenizer makes other tokens of the probe than the base's")
    width = source.scores.shape[-1]
    return float((found.adapted[:, :width] - source.scores).abs().max())


def _judge(off: float, dtype: str, out: Path) -> float:
    """The tolerance of a dtype in nats. Raises `UserError` when the copy is farther off."""
    from gen_msa.backends.local import probe

    allowed = probe.TOLERANCE[dtype]
    if not off <= allowed:
        raise UserError(
            f"{out} was not written: read back as {dtype}, it scores the probe otherwise than the "
            f"adapted model, by {off:.3g} nats; {allowed:g} are allowed",
            mend="export in a finer dtype",
        )
    return allowed


def _copy(folder: Path, draft: Path, suffixes: tuple[str, ...]) -> None:
    """Tokenizer, processor and template as they are, byte for byte."""
    written = {p.name for p in draft.iterdir()} | {"config.json", manifest.NAME, "reading.json"}
    for path in sorted(folder.iterdir()):
        kept = path.suffix in suffixes and not path.name.endswith(".index.json")
        if path.is_file() and kept and path.name not in written:
            shutil.copyfile(path, draft / path.name)


def _copy_named(folder: Path, draft: Path, names: tuple[str, ...]) -> None:
    for name in names:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, draft / name)
