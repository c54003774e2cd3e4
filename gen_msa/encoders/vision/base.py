"""Makes the vision towers here known to transformers.

Knows no tower: every module of the package is imported, and those that are towers make their type
known to the Auto classes.

    register(); AutoModelForImageTextToText.from_pretrained(folder)
"""

import importlib
import pkgutil
from pathlib import Path


def register_vision_encoders() -> None:
    """Make every tower here known to the Auto classes."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"gen_msa.encoders.vision.{module.name}")
