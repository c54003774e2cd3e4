"""A student's folder: what it is, its weights and its tokenizer; sealed, and checked when opened.

    student.json        which student, its sizes and numbers, what text it reads
    model.safetensors   every weight
    tokenizer.json      how text becomes tokens

Knows nothing of training. Nothing of the folder is run, and no pickle is read.

    opened = open_student(Path("students/text/student"))
    opened.student(opened.collate(rows)).logits
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field, ValidationError

from gen_msa import jsonl, manifest, settings
from gen_msa.errors import UserError
from gen_msa.models.base import CLASSES, InputDims, Model, models
from gen_msa.models.inputs.collator import Collator

_HINT = "train it again, or use a student made by this version of gen_msa"


class StudentConfig(settings.Settings):
    """What `student.json` says."""

    student: str
    width: dict[str, int]
    classes: tuple[str, ...] = tuple(str(c) for c in CLASSES)
    config: dict[str, Any] = Field(default_factory=dict)
    text: Literal["post", "explanation"] = "post"
    """`reason`: the text it reads is somebody's explanation, alone."""
    max_length: int
    mask_labels: bool = False
    cues: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Cue sources that write the context; shown at reading time too, as it was in training."""


@dataclass(frozen=True)
class LoadedStudent:
    """A student ready to read: in eval mode, on the CPU."""

    student: Model
    collator: Collator
    config: StudentConfig
    revision: str
    """sha256 of the folder's manifest: of every byte of it."""


def save_student(
    folder: Path,
    student: Model,
    collator: Collator,
    *,
    text: str,
    name: str,
    cues: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> None:
    """Write the three files into `folder`; `name` is the student's in the registry."""
    from safetensors.torch import save_file

    config = StudentConfig.model_validate(
        {
            "student": name,
            "width": dict(student.input_dims.width),
            "config": dict(student.config),
            "text": text,
            "max_length": collator.max_length,
            "mask_labels": collator.mask_labels,
            "cues": {k: dict(v) for k, v in cues.items()},
        }
    )
    config_json = json.dumps(config.model_dump(mode="json"), indent=2) + "\n"
    for file, content in (
        ("student.json", config_json),
        ("tokenizer.json", collator.tokenizer_json),
    ):
        with jsonl.atomic_write(folder / file) as f:
            f.write(content.encode())
    module: Any = student
    save_file({k: v.contiguous() for k, v in module.state_dict().items()}, _weights_path(folder))


def load_config(folder: Path, hint: str = _HINT) -> tuple[StudentConfig, str]:
    """What a sealed folder says of its student, and its tokenizer's JSON.

    Raises `UserError` for a folder that is not as it was sealed, and for one of another making;
    `mend` tells what to do about the latter.
    """
    manifest.verify(folder)
    try:
        config = StudentConfig.model_validate_json((folder / "student.json").read_bytes())
        tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
    except (OSError, ValidationError) as e:
        reason = jsonl.format_validation_error(e) if isinstance(e, ValidationError) else e
        raise UserError(f"{folder} holds no student: {reason}", hint=hint) from None
    if config.classes != tuple(CLASSES):
        raise UserError(f"{folder}: its classes are {', '.join(config.classes)}", hint=hint)
    return config, tokenizer


def load_student(folder: Path) -> LoadedStudent:
    """The student of a sealed folder. Raises `UserError` as `sealed` does."""
    config, tokenizer = load_config(folder)
    collator = collator_for(tokenizer, config)
    student = _load_model(folder, config)
    return LoadedStudent(
        student, collator, config, manifest.sha256(folder / manifest.MANIFEST_NAME)
    )


def collator_for(tokenizer: str, config: StudentConfig) -> Collator:
    """The collate of a kept student."""
    return Collator(
        tokenizer,
        max_length=config.max_length,
        mask_labels=config.mask_labels,
        widths={m: n for m, n in config.width.items() if m != "text"},
        append_context=bool(config.cues) and "context" not in config.width,
    )


def _load_model(folder: Path, config: StudentConfig) -> Model:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    model_class: Any = models[config.student]
    try:
        student = model_class(InputDims(width=config.width), **config.config)
        student.load_state_dict(load_file(_weights_path(folder)))
    except (TypeError, ValueError, KeyError, RuntimeError, OSError, SafetensorError) as e:
        message = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise UserError(f"{folder}: its weights do not fit: {message}", hint=_HINT) from None
    model: Model = student.eval()
    return model


def _weights_path(folder: Path) -> Path:
    return folder / "model.safetensors"
