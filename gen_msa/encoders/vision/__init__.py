"""Vision encoders of our own, as ordinary transformers models; one module per encoder.

`register_vision_encoders` makes their types known to the Auto classes. Call it before loading a
folder that may contain one. `packaged` locates weights in installed packages.

    register_vision_encoders()
    AutoModelForImageTextToText.from_pretrained(folder)
"""

from gen_msa.encoders.vision.base import register_vision_encoders

__all__ = ["register_vision_encoders"]
