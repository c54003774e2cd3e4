"""Vision towers of our own, as ordinary transformers models. A tower is a file here.

Importing a tower's file makes its type known to transformers' Auto classes; `register` imports them
all, and must be called before a folder is loaded that may hold one. `packaged` is none: it finds
the weights that come in packages.

    register(); AutoModelForImageTextToText.from_pretrained(folder)
"""

from gen_msa.encoders.vision.base import register_vision_encoders

__all__ = ["register_vision_encoders"]
