"""Vision towers of our own, as ordinary transformers models. A tower is a file here.

Importing a tower's file makes its type known to transformers' Auto classes; `register` imports them
all, and must be called before a folder is loaded that may hold one. `packaged` is none: it finds
the weights that come in packages.

    register(); AutoModelForImageTextToText.from_pretrained(folder)
"""

import importlib
import pkgutil


def register() -> None:
    """Make every tower here known to the Auto classes."""
    for found in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{found.name}")
