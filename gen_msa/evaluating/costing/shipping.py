"""Megabytes of what must be shipped so that a reader can read: model and adapter, no libraries.

Knows nothing of how they are read.

    megabytes("student:students/text/student")      # 91.2
"""

import json
from collections.abc import Sequence
from pathlib import Path

from gen_msa import builtin
from gen_msa.towers.packaged import VISION

READ = frozenset({".safetensors", ".onnx", ".json", ".jinja", ".model", ".txt", ".yaml"})
"""Of a folder's files those that are read; checkpoints, notes and other formats are not shipped."""


def megabytes(reader: str) -> float | None:
    """Of the reader named as on the command line, in MB (1e6 bytes); None where nobody can tell."""
    name, _, target = reader.partition(":")
    if name == "echo":
        return 0.0
    if name == "student":
        return _size([Path(target), *_eyes(Path(target))])
    if name == "builtin":
        adapter = Path(target) if target else builtin.adapted()
        return _size([*builtin.weights_files(), *([adapter] if adapter else [])])
    if name in ("transformers", "vllm"):
        from gen_msa.backends.local.weights import find

        return _size([part for part in find(target) if part])
    return None


def _size(parts: Sequence[Path]) -> float:
    """Of files, and of the files of folders that are read."""
    files = [f for p in parts for f in (p.iterdir() if p.is_dir() else [p])]
    return sum(f.stat().st_size for f in files if f.suffix in READ or f in parts) / 1e6


def _eyes(student: Path) -> list[Path]:
    """The tower of a student that looks at pictures."""
    reads = json.loads((student / "student.json").read_bytes())["width"]
    return [VISION.needed()] if "picture" in reads else []
