"""Students: compact models that classify the polarity of an aspect and run on any machine.

One module per architecture, registered in `models`. A `Batch` of any modalities goes in, an
`Output` comes out, and one loop trains them all (`gen_msa.distillation`).

    student = models["text"](InputDims(width={"text": 30522}), layers=2, width=64, heads=4)
    student(batch).logits        # (rows, 3): negative, neutral, positive
"""

from gen_msa.models.base import (
    CLASSES,
    AspectExample,
    Batch,
    CollateFn,
    HasRowMemory,
    InputDims,
    Model,
    ModelClass,
    MultiPhase,
    Output,
    Phase,
    models,
)

__all__ = [
    "CLASSES",
    "AspectExample",
    "Batch",
    "CollateFn",
    "HasRowMemory",
    "InputDims",
    "Model",
    "ModelClass",
    "MultiPhase",
    "Output",
    "Phase",
    "models",
]
