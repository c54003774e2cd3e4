"""An object detector from transformers, loaded on first use.

Knows nothing of posts or cues.

    detect = pipeline("PekingU/rtdetr_r18vd")
    detect([picture])       # [[("dog", 0.98), ("frisbee", 0.71)]]
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gen_msa.errors import MissingExtra, UserError

if TYPE_CHECKING:
    from PIL.Image import Image


def load_detector(model: str) -> Callable[[Sequence["Image"]], list[list[tuple[str, float]]]]:
    """A detector by the name or folder of its weights: safetensors only, no code of its own."""
    try:
        import transformers
    except ImportError:
        raise MissingExtra("transformers", "builtin") from None
    try:
        detector = transformers.pipeline(
            "object-detection",
            model=model,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError) as e:
        raise UserError(f"no object detector {model!r}: {e}", hint="name one, or a file") from None

    def detect(images: Sequence["Image"]) -> list[list[tuple[str, float]]]:
        results = detector(list(images), batch_size=8)
        return [[(str(o["label"]), float(o["score"])) for o in detections] for detections in results]

    return detect
