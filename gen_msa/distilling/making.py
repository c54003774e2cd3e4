"""A student, its collate and what its rows carry, made as a recipe says.

Knows nothing of training.

    student, fresh, warm = made(recipe, collate_for(recipe, minilm.tokenizer(), rows))
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gen_msa.distilling.filling import Asked
from gen_msa.distilling.recipe import Recipe
from gen_msa.distilling.teaching import Teacher
from gen_msa.errors import UserError
from gen_msa.students import Row, Sizes, Student, students
from gen_msa.students.common.collating import Words


def asked_for(recipe: Recipe, teacher: Teacher | None) -> Asked:
    """What rows are to carry for the student, and for its teacher beside it.

    Raises `UserError` when the two were shown different cues.
    """
    kind: Any = students[recipe.student]
    reads, cues = tuple(kind.reads), dict(recipe.cues)
    if teacher:
        reads += tuple(r for r in teacher.opened.student.reads if r not in reads)
        theirs = teacher.opened.kept.cues
        if cues and theirs and theirs != cues:
            raise UserError("student and teacher have different cues", mend="give both the same")
        cues = cues or theirs
    return Asked(reads, cues)


def collate_for(recipe: Recipe, tokenizer: Path, rows: Sequence[Row]) -> Words:
    """What makes batches of `rows`: every modality that the student reads, as wide as they have it.

    Raises `UserError` for a modality that no row has.
    """
    kind: Any = students[recipe.student]
    widths: dict[str, int] = {}
    source = tokenizer.read_text(encoding="utf-8")
    for name in kind.reads:
        if name == "text":
            continue
        if name == "context":
            widths[name] = Words(source).vocabulary
            continue
        shapes = (r.inputs[name].shape for r in rows if name in r.inputs)
        if (shape := next(shapes, None)) is None:
            raise UserError(f"{recipe.student} reads {name}, and no row has any")
        widths[name] = int(shape[1])
    return Words(
        source,
        max_length=recipe.max_length,
        mask_labels=recipe.mask_labels,
        widths=widths,
        joined=bool(recipe.cues) and "context" not in kind.reads,
    )


def made(recipe: Recipe, collate: Words) -> tuple[Student, set[str], str]:
    """The student, the names of its tensors that began new, and what the others began with."""
    sizes = Sizes(width={"text": collate.vocabulary, **collate.widths})
    try:
        student = students[recipe.student](sizes, **recipe.numbers)
    except (TypeError, ValueError) as e:
        raise UserError(f"numbers: {e}", mend=f"see gen-msa show {recipe.student}") from None
    module: Any = student
    before = {n: p.detach().clone() for n, p in module.named_parameters()}
    warm = student.warm_up() if recipe.warm else ""
    fresh = {n for n, p in module.named_parameters() if torch.equal(before[n], p)}
    return student, fresh if warm else set(), warm
