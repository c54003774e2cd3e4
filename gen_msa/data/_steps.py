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

STEPS = 8
"""Longest sequence."""
LIMIT = 5.0
"""Spreads. A measurement farther from the mean is a fault of the instrument more often than not."""
VERSION = "1"
"""Raised when the same source is to give other numbers."""
FILE = "features.safetensors"

Vectors = Mapping[str, Sequence[float]]
"""Name of a modality -> vector; empty when there is none."""


@dataclass(frozen=True)
class Utterance:
    """What was measured of one."""

    id: str
    video: str
    place: int
    """Where it stands in its video."""
    vectors: Vectors


def home(corpus: str) -> Path:
    """The folder below which a corpus' files lie."""
    return cache_folder() / corpus


def cached(folder: Path, make: Callable[[], tuple[list[Utterance], list[Utterance]]]) -> None:
    """See to it that `folder` holds the file; `make` is called only when it does not.

    `make` gives the utterances, and those that means and spreads are measured on. Raises
    `UserError` when the file cannot be written.
    """
    if manifest.whole(folder):
        return
    tensors = sequences(*make())
    try:
        with manifest.staged(folder) as draft:
            (draft / FILE).write_bytes(packed(tensors))
    except OSError as e:
        raise UserError(
            f"features cannot be kept in {folder.parent}: {e}",
            mend="set GEN_MSA_CACHE to a folder that can be written",
        ) from None


def sequences(
    found: Sequence[Utterance], learned: Sequence[Utterance]
) -> dict[str, list[Sequence[float]]]:
    """`NAME/ID` -> vectors of the last utterances of the video, oldest first."""
    told: dict[str, list[Sequence[float]]] = {}
    for name in dict.fromkeys(n for u in found for n in u.vectors):
        scale = _scale([u.vectors[name] for u in learned if u.vectors.get(name)])
        videos: dict[str, list[Sequence[float]]] = {}
        for u in sorted((u for u in found if u.vectors.get(name)), key=lambda u: u.place):
            before = videos.setdefault(u.video, [])
            before.append(scale(u.vectors[name]))
            told[f"{name}/{u.id}"] = before[-STEPS:]
    return told


def _scale(learned: Sequence[Sequence[float]]) -> Callable[[Sequence[float]], list[float]]:
    if not learned:
        return lambda vector: [0.0] * len(vector)
    count = len(learned)
    columns = list(zip(*learned, strict=True))
    means = [sum(c) / count for c in columns]
    spreads = [
        (sum((x - m) ** 2 for x in c) / count) ** 0.5 for c, m in zip(columns, means, strict=True)
    ]

    def scaled(vector: Sequence[float]) -> list[float]:
        # A column that never changes says nothing.
        return [
            min(max((x - m) / s, -LIMIT), LIMIT) if s > 1e-9 else 0.0
            for x, m, s in zip(vector, means, spreads, strict=True)
        ]

    return scaled


def packed(tensors: Mapping[str, Sequence[Sequence[float]]]) -> bytes:
    """The bytes of a safetensors file of float32 matrices.

    The library is an extra's, the format is a length, a JSON and the numbers; and a corpus is to be
    read without extras.
    """
    header: dict[str, object] = {}
    data = bytearray()
    for name, rows in tensors.items():
        numbers = array("f", [x for row in rows for x in row])
        if sys.byteorder == "big":
            numbers.byteswap()
        begin = len(data)
        data += numbers.tobytes()
        shape = [len(rows), len(rows[0])]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
    told = json.dumps(header).encode()
    told += b" " * (-len(told) % 8)
    return struct.pack("<Q", len(told)) + told + bytes(data)
