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
from gen_msa.students.base import CLASSES, Sizes, Student, students
from gen_msa.students.common.collating import Words

_MEND = "train it again, or use a student made by this version of gen_msa"


class Kept(settings.Settings):
    """What `student.json` says."""

    student: str
    width: dict[str, int]
    classes: tuple[str, ...] = tuple(str(c) for c in CLASSES)
    numbers: dict[str, Any] = Field(default_factory=dict)
    text: Literal["post", "reason"] = "post"
    """`reason`: the text it reads is somebody's explanation, alone."""
    max_length: int
    mask_labels: bool = False
    cues: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Cue sources that write the context; shown at reading time too, as it was in training."""


@dataclass(frozen=True)
class Opened:
    """A student ready to read: in eval mode, on the CPU."""

    student: Student
    collate: Words
    kept: Kept
    revision: str
    """sha256 of the folder's manifest: of every byte of it."""


def write(
    folder: Path,
    student: Student,
    collate: Words,
    *,
    text: str,
    name: str,
    cues: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> None:
    """Write the three files into `folder`; `name` is the student's in the registry."""
    from safetensors.torch import save_file

    kept = Kept.model_validate(
        {
            "student": name,
            "width": dict(student.sizes.width),
            "numbers": dict(student.numbers),
            "text": text,
            "max_length": collate.max_length,
            "mask_labels": collate.mask_labels,
            "cues": {k: dict(v) for k, v in cues.items()},
        }
    )
    told = json.dumps(kept.model_dump(mode="json"), indent=2) + "\n"
    for file, content in (("student.json", told), ("tokenizer.json", collate.source)):
        with jsonl.whole(folder / file) as f:
            f.write(content.encode())
    module: Any = student
    save_file({k: v.contiguous() for k, v in module.state_dict().items()}, _weights(folder))


def sealed(folder: Path, mend: str = _MEND) -> tuple[Kept, str]:
    """What a sealed folder says of its student, and its tokenizer's JSON.

    Raises `UserError` for a folder that is not as it was sealed, and for one of another making;
    `mend` tells what to do about the latter.
    """
    manifest.check(folder)
    try:
        kept = Kept.model_validate_json((folder / "student.json").read_bytes())
        tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
    except (OSError, ValidationError) as e:
        why = jsonl.reason_of(e) if isinstance(e, ValidationError) else e
        raise UserError(f"{folder} holds no student: {why}", mend=mend) from None
    if kept.classes != tuple(CLASSES):
        raise UserError(f"{folder}: its classes are {', '.join(kept.classes)}", mend=mend)
    return kept, tokenizer


def open_student(folder: Path) -> Opened:
    """The student of a sealed folder. Raises `UserError` as `sealed` does."""
    kept, tokenizer = sealed(folder)
    collate = words(tokenizer, kept)
    student = _loaded(folder, kept)
    return Opened(student, collate, kept, manifest.sha256(folder / manifest.NAME))


def words(tokenizer: str, kept: Kept) -> Words:
    """The collate of a kept student."""
    return Words(
        tokenizer,
        max_length=kept.max_length,
        mask_labels=kept.mask_labels,
        widths={m: n for m, n in kept.width.items() if m != "text"},
        joined=bool(kept.cues) and "context" not in kept.width,
    )


def _loaded(folder: Path, kept: Kept) -> Student:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    made: Any = students[kept.student]
    try:
        student = made(Sizes(width=kept.width), **kept.numbers)
        student.load_state_dict(load_file(_weights(folder)))
    except (TypeError, ValueError, KeyError, RuntimeError, OSError, SafetensorError) as e:
        said = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise UserError(f"{folder}: its weights do not fit: {said}", mend=_MEND) from None
    found: Student = student.eval()
    return found


def _weights(folder: Path) -> Path:
    return folder / "model.safetensors"
