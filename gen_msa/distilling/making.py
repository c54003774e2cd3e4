"""A student, its collate and what its rows carry, made as a recipe says.

Knows nothing of training.

    student, fresh, warm = made(recipe, collate_for(recipe, minilm.tokenizer(), rows))
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gen_msa.distilling.filling import RequiredInputs
from gen_msa.distilling.recipe import DistillRecipe
from gen_msa.distilling.teaching import FrozenTeacher
from gen_msa.errors import UserError
from gen_msa.students import AspectExample, InputDims, Model, models
from gen_msa.students.common.collating import Collator


def required_inputs(recipe: DistillRecipe, teacher: FrozenTeacher | None) -> RequiredInputs:
    """What rows are to carry for the student, and for its teacher beside it.

    Raises `UserError` when the two were shown different cues.
    """
    model_class: Any = models[recipe.student]
    modalities, cues = tuple(model_class.reads), dict(recipe.cues)
    if teacher:
        modalities += tuple(r for r in teacher.loaded.student.modalities if r not in modalities)
        teacher_cues = teacher.loaded.config.cues
        if cues and teacher_cues and teacher_cues != cues:
            raise UserError("student and teacher have different cues", hint="give both the same")
        cues = cues or teacher_cues
    return RequiredInputs(modalities, cues)


def build_collator(recipe: DistillRecipe, tokenizer: Path, rows: Sequence[AspectExample]) -> Collator:
    """What makes batches of `rows`: every modality that the student reads, as wide as they have it.

    Raises `UserError` for a modality that no row has.
    """
    model_class: Any = models[recipe.student]
    widths: dict[str, int] = {}
    source = tokenizer.read_text(encoding="utf-8")
    for name in model_class.reads:
        if name == "text":
            continue
        if name == "context":
            widths[name] = Collator(source).vocab_size
            continue
        shapes = (r.inputs[name].shape for r in rows if name in r.inputs)
        if (shape := next(shapes, None)) is None:
            raise UserError(f"{recipe.student} reads {name}, and no row has any")
        widths[name] = int(shape[1])
    return Collator(
        source,
        max_length=recipe.max_length,
        mask_labels=recipe.mask_labels,
        widths=widths,
        append_context=bool(recipe.cues) and "context" not in model_class.reads,
    )


def build_student(recipe: DistillRecipe, collator: Collator) -> tuple[Model, set[str], str]:
    """The student, the names of its tensors that began new, and what the others began with."""
    input_dims = InputDims(width={"text": collator.vocab_size, **collator.widths})
    try:
        student = models[recipe.student](input_dims, **recipe.config)
    except (TypeError, ValueError) as e:
        raise UserError(f"numbers: {e}", hint=f"see gen-msa show {recipe.student}") from None
    module: Any = student
    initial = {n: p.detach().clone() for n, p in module.named_parameters()}
    pretrained_from = student.load_pretrained() if recipe.pretrained else ""
    new_params = {n for n, p in module.named_parameters() if torch.equal(initial[n], p)}
    return student, new_params if pretrained_from else set(), pretrained_from
