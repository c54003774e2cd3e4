"""Vectors of utterances as sequences in one safetensors file of the user's cache folder.

The tensor `NAME/ID` has the vectors of the last `STEPS` utterances of a video up to this one, its
own last, never a later one. Every column is put to mean 0 and spread 1, as measured on the
utterances that are learned from, and cut at `LIMIT`. The file is made once, is kept under a hash of
what it was made from, and is made again when it is spoilt. Knows no corpus.

    cached(home("mosi") / digest, lambda: (utterances, learned))     # digest/features.safetensors
"""

import json
import struct
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gen_msa import manifest
from gen_msa.errors import UserError
from gen_msa.towers.packaged import cache_folder

MAX_STEPS = 8
"""Longest sequence."""
MAX_ABS_ZSCORE = 5.0
"""Spreads. A measurement farther from the mean is a fault of the instrument more often than not."""
FEATURES_VERSION = "1"
"""Raised when the same source is to give other numbers."""
FEATURES_FILE = "features.safetensors"

ModalityVectors = Mapping[str, Sequence[float]]
"""Name of a modality -> vector; empty when there is none."""


@dataclass(frozen=True)
class UtteranceFeatures:
    """What was measured of one."""

    id: str
    video: str
    position: int
    """Where it stands in its video."""
    vectors: ModalityVectors


def dataset_cache_folder(corpus: str) -> Path:
    """The folder below which a corpus' files lie."""
    return cache_folder() / corpus


def ensure_cached(folder: Path, build_utterances: Callable[[], tuple[list[UtteranceFeatures], list[UtteranceFeatures]]]) -> None:
    """See to it that `folder` holds the file; `make` is called only when it does not.

    `make` gives the utterances, and those that means and spreads are measured on. Raises
    `UserError` when the file cannot be written.
    """
    if manifest.is_intact(folder):
        return
    tensors = build_sequences(*build_utterances())
    try:
        with manifest.atomic_directory(folder) as draft:
            (draft / FEATURES_FILE).write_bytes(to_safetensors(tensors))
    except OSError as e:
        raise UserError(
            f"features cannot be kept in {folder.parent}: {e}",
            hint="set GEN_MSA_CACHE to a folder that can be written",
        ) from None


def build_sequences(
    utterances: Sequence[UtteranceFeatures], fit_utterances: Sequence[UtteranceFeatures]
) -> dict[str, list[Sequence[float]]]:
    """`NAME/ID` -> vectors of the last utterances of the video, oldest first."""
    sequences_by_key: dict[str, list[Sequence[float]]] = {}
    for modality in dict.fromkeys(n for u in utterances for n in u.vectors):
        standardize = _fit_standardizer([u.vectors[modality] for u in fit_utterances if u.vectors.get(modality)])
        videos: dict[str, list[Sequence[float]]] = {}
        for u in sorted((u for u in utterances if u.vectors.get(modality)), key=lambda u: u.position):
            history = videos.setdefault(u.video, [])
            history.append(standardize(u.vectors[modality]))
            sequences_by_key[f"{modality}/{u.id}"] = history[-MAX_STEPS:]
    return sequences_by_key


def _fit_standardizer(fit_vectors: Sequence[Sequence[float]]) -> Callable[[Sequence[float]], list[float]]:
    if not fit_vectors:
        return lambda vector: [0.0] * len(vector)
    count = len(fit_vectors)
    columns = list(zip(*fit_vectors, strict=True))
    means = [sum(c) / count for c in columns]
    stds = [
        (sum((x - m) ** 2 for x in c) / count) ** 0.5 for c, m in zip(columns, means, strict=True)
    ]

    def standardize(vector: Sequence[float]) -> list[float]:
        # A column that never changes says nothing.
        return [
            min(max((x - m) / s, -MAX_ABS_ZSCORE), MAX_ABS_ZSCORE) if s > 1e-9 else 0.0
            for x, m, s in zip(vector, means, stds, strict=True)
        ]

    return standardize


def to_safetensors(tensors: Mapping[str, Sequence[Sequence[float]]]) -> bytes:
    """The bytes of a safetensors file of float32 matrices.

    The library is an extra's, the format is a length, a JSON and the numbers; and a corpus is to be
    read without extras.
    """
    header: dict[str, object] = {}
    data = bytearray()
    for name, rows in tensors.items():
        values = array("f", [x for row in rows for x in row])
        if sys.byteorder == "big":
            values.byteswap()
        begin = len(data)
        data += values.tobytes()
        shape = [len(rows), len(rows[0])]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
    header_bytes = json.dumps(header).encode()
    header_bytes += b" " * (-len(header_bytes) % 8)
    return struct.pack("<Q", len(header_bytes)) + header_bytes + bytes(data)
