"""Students: compact models that say a polarity and run anywhere. A published system is a file here.

Their protocol stands here: a `Batch` of any modalities goes in, an `Output` comes out, and one loop
trains them all. `common/` has what they share: rows made into batches, folders written and read.
Knows nothing of posts' files, teachers or training.

    student = students["text"](Sizes(width={"text": 30522}), layers=2, width=64, heads=4)
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
