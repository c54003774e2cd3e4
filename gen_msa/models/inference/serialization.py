"""The folder of a student: configuration, weights and tokenizer; sealed, and verified when loaded.

    student.json        architecture, input sizes, config, and which text it reads
    model.safetensors   all weights
    tokenizer.json      the tokenizer

No code of the folder is executed, and no pickle is read.

    loaded = load_student(Path("students/text/student"))
    loaded.student(loaded.collator(rows)).logits
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field

from gen_msa import jsonl, manifest, settings
from gen_msa.errors import UserError, user_errors
from gen_msa.models.base import CLASSES, InputDims, Model, models
from gen_msa.models.inputs.collator import Collator
from gen_msa.safety_scan import MAX_JSON_BYTES, check_sizes, tensor_shapes

_HINT = "train it again, or use a student trained with this version of gen_msa"


class StudentConfig(settings.Settings):
    """Content of `student.json`."""

    student: str
    width: dict[str, int]
    classes: tuple[str, ...] = tuple(str(c) for c in CLASSES)
    config: dict[str, Any] = Field(default_factory=dict)
    text: Literal["post", "explanation"] = "post"
    """`explanation`: its input is the text of an explanation, alone."""
    max_length: int = Field(ge=1, le=1 << 16)
    mask_labels: bool = False
    cues: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Cue sources that write the context, in training and in use."""


@dataclass(frozen=True)
class LoadedStudent:
    """A student ready to predict: in evaluation mode, on the CPU."""

    student: Model
    collator: Collator
    config: StudentConfig
    revision: str
    """SHA-256 of the folder's manifest, and so of all its files."""


def save_student(
    folder: Path,
    student: Model,
    collator: Collator,
    *,
    text: str,
    name: str,
    cues: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> None:
    """Write the three files of a student into `folder`.

    Args:
        folder: Existing folder.
        student: Model to save.
        collator: Its collator.
        text: Which text it reads: `post` or `explanation`.
        name: Name of the architecture in the registry.
        cues: Cue sources that write its context.
    """
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
    """Load the configuration of a sealed folder and its tokenizer.

    Args:
        folder: Folder of a student.
        hint: Hint of the errors.

    Returns:
        The configuration, and the tokenizer as JSON.

    Raises:
        UserError: The folder has changed since it was sealed, or is not a student of this version.
    """
    manifest.verify(folder)
    with user_errors(folder, "has no student", hint=hint):
        config = StudentConfig.model_validate_json((folder / "student.json").read_bytes())
        if (folder / "tokenizer.json").stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"tokenizer.json has more than {MAX_JSON_BYTES:,} bytes")
        tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
    if config.classes != tuple(CLASSES):
        raise UserError(f"{folder}: its classes are {', '.join(config.classes)}", hint=hint)
    return config, tokenizer


def load_student(folder: Path) -> LoadedStudent:
    """Load the student of a sealed folder.

    Raises:
        UserError: The folder has changed since it was sealed, or is not a student of this version.
    """
    config, tokenizer = load_config(folder)
    collator = collator_for(tokenizer, config)
    student = _load_model(folder, config)
    return LoadedStudent(
        student, collator, config, manifest.sha256(folder / manifest.MANIFEST_NAME)
    )


def collator_for(tokenizer: str, config: StudentConfig) -> Collator:
    """Build the collator of a saved student.

    Args:
        tokenizer: Content of the student's `tokenizer.json`.
        config: Configuration of the student.

    Returns:
        The collator, with the options that the student was trained with.
    """
    return Collator(
        tokenizer,
        max_length=config.max_length,
        mask_labels=config.mask_labels,
        widths={m: n for m, n in config.width.items() if m != "text"},
        append_context=bool(config.cues) and "context" not in config.width,
    )


def _load_model(folder: Path, config: StudentConfig) -> Model:
    import torch
    from safetensors.torch import load_file

    model_class: Any = models[config.student]
    check_sizes(folder, "student.json", {"width": config.width, "config": config.config})
    with user_errors(folder, "has weights that do not fit", hint=_HINT):
        shapes = tensor_shapes(_weights_path(folder))
        with torch.device("meta"):  # takes no memory, whatever the sizes
            planned = model_class(InputDims(width=config.width), **config.config).state_dict()
        expected = {name: tuple(tensor.shape) for name, tensor in planned.items()}
        if differing := sorted(set(expected.items()) ^ set(shapes.items())):
            raise ValueError(f"{differing[0][0]} is missing, unknown or of another shape")
        student = model_class(InputDims(width=config.width), **config.config)
        student.load_state_dict(load_file(_weights_path(folder)))
    model: Model = student.eval()
    return model


def _weights_path(folder: Path) -> Path:
    return folder / "model.safetensors"
