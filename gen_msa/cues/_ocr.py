"""The writing in a picture, by rapidocr, loaded on first use.

Knows nothing of posts or cues.

    read = scanner()
    read(picture)       # "SALE 50% OFF"
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gen_msa.errors import MissingExtra

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_CONFIDENCE = 0.5
"""Lines the recogniser is less sure of are noise more often than writing."""


def load_ocr() -> Callable[["Image"], str]:
    """A function from an RGB picture to its writing. Raises `MissingExtra`."""
    try:
        import numpy as np
        from rapidocr_onnxruntime import RapidOCR
    except ImportError:
        raise MissingExtra("rapidocr-onnxruntime", "ocr") from None
    engine = RapidOCR()

    def read_text(image: "Image") -> str:
        lines, _ = engine(np.asarray(image)[:, :, ::-1])  # rapidocr takes BGR
        return " ".join(text for _, text, score in lines or () if float(score) >= MIN_CONFIDENCE)

    return read_text
