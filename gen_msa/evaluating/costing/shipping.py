"""Megabytes of what must be shipped so that a reader can read: model and adapter, no libraries.

Knows nothing of how they are read.

    megabytes("student:students/text/student")      # 91.2
"""

import json
from collections.abc import Sequence
from pathlib import Path

from gen_msa import builtin
from gen_msa.towers.packaged import EFFICIENTNET_LITE0

SHIPPED_SUFFIXES = frozenset({".safetensors", ".onnx", ".json", ".jinja", ".model", ".txt", ".yaml"})
"""Of a folder's files those that are read; checkpoints, notes and other formats are not shipped."""


def model_size_mb(model: str) -> float | None:
    """Of the reader named as on the command line, in MB (1e6 bytes); None where nobody can tell."""
    name, _, target = model.partition(":")
    if name == "echo":
        return 0.0
    if name == "student":
        return _total_mb([Path(target), *_vision_encoder_files(Path(target))])
    if name == "builtin":
        adapter = Path(target) if target else builtin.adapter_folder()
        return _total_mb([*builtin.weights_files(), *([adapter] if adapter else [])])
    if name in ("transformers", "vllm"):
        from gen_msa.backends.local.weights import resolve_target

        return _total_mb([part for part in resolve_target(target) if part])
    return None


def _total_mb(parts: Sequence[Path]) -> float:
    """Of files, and of the files of folders that are read."""
    files = [f for p in parts for f in (p.iterdir() if p.is_dir() else [p])]
    return sum(f.stat().st_size for f in files if f.suffix in SHIPPED_SUFFIXES or f in parts) / 1e6


def _vision_encoder_files(student: Path) -> list[Path]:
    """The tower of a student that looks at pictures."""
    modalities = json.loads((student / "student.json").read_bytes())["width"]
    return [EFFICIENTNET_LITE0.require()] if "picture" in modalities else []
