"""Makes the vision towers here known to transformers.

Knows no tower: every module of the package is imported, and those that are towers make their type
known to the Auto classes.

    register(); AutoModelForImageTextToText.from_pretrained(folder)
"""

import importlib
import pkgutil

from gen_msa import towers


def register() -> None:
    """Make every tower here known to the Auto classes."""
    for found in pkgutil.iter_modules(towers.__path__):
        importlib.import_module(f"{towers.__name__}.{found.name}")
