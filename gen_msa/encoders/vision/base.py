"""Register the vision encoders of this package with transformers.

register_vision_encoders()
AutoModelForImageTextToText.from_pretrained(folder)
"""

import importlib
import pkgutil
from pathlib import Path


def register_vision_encoders() -> None:
    """Import every encoder module, which registers its type with the Auto classes."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"gen_msa.encoders.vision.{module.name}")
