"""CMU-MOSI: spoken utterances: transcript, sound and film.

Read from `mosi/train.jsonl` and `mosi/test.jsonl`. An id is VIDEO_UTTERANCE; `meta` has both, so
that the utterances of a video can be put in order. The label is binary: 1 is a positive opinion by
`gold` on the utterance as a whole, 0 a negative one.

A post has two media of kind `features`, `audio/ID` (73 wide) and `video/ID` (100 wide): a step is
the vector of an utterance, and the steps are those of the last 8 utterances of the video up to this
one, its own last, never a later one (`_steps`). They are made from the JSON lines once, in the
user's cache folder. The vectors of the text are not read: the transcript is.

The vectors of the film know labels: a logistic regression on `video` alone is right on 91 % of
train and of dev, so what made them must have been trained on the labels of `train.jsonl`. Dev
figures of a student that looks at `video` are too high, and what learned to trust it will be let
down by new posts. `audio` shows no such trace: 63 % of train and 45 % of dev.

There is no official dev split here: a video of `train.jsonl` is in dev when the first 8 hexadecimal
digits of the sha256 of its name are divisible by 5, else in train. No video is in both.

    open_source("mosi:dev").rows()
"""

import hashlib
import json
import struct
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, FiniteFloat

from gen_msa import jsonl, manifest
from gen_msa.data.base import Rows, datasets, require_file
from gen_msa.encoders.vision.packaged import cache_folder
from gen_msa.errors import UserError
from gen_msa.types import Example, Media, Opinion, Polarity, Post, Rejected

# Vectors of utterances as sequences in one safetensors file of the user's cache folder.

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


def ensure_cached(
    folder: Path,
    build_utterances: Callable[[], tuple[list[UtteranceFeatures], list[UtteranceFeatures]]],
) -> None:
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
        standardize = _fit_standardizer(
            [u.vectors[modality] for u in fit_utterances if u.vectors.get(modality)]
        )
        videos: dict[str, list[Sequence[float]]] = {}
        for u in sorted(
            (u for u in utterances if u.vectors.get(modality)), key=lambda u: u.position
        ):
            history = videos.setdefault(u.video, [])
            history.append(standardize(u.vectors[modality]))
            sequences_by_key[f"{modality}/{u.id}"] = history[-MAX_STEPS:]
    return sequences_by_key


def _fit_standardizer(
    fit_vectors: Sequence[Sequence[float]],
) -> Callable[[Sequence[float]], list[float]]:
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


_LABELS = {0: Polarity.NEGATIVE, 1: Polarity.POSITIVE}
WIDTHS = {"audio": 73, "video": 100}


def _has_width(width: int) -> AfterValidator:
    def check_width(vector: tuple[float, ...]) -> tuple[float, ...]:
        if vector and len(vector) != width:
            raise ValueError(f"{len(vector)} numbers, not {width}")
        return vector

    return AfterValidator(check_width)


class _MosiRow(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str
    transcript: str
    label: Literal[0, 1]
    audio: Annotated[tuple[FiniteFloat, ...], _has_width(WIDTHS["audio"])] = ()
    video: Annotated[tuple[FiniteFloat, ...], _has_width(WIDTHS["video"])] = ()

    @property
    def video_and_index(self) -> tuple[str, str]:
        """Video and utterance."""
        video, _, number = self.id.rpartition("_")
        return video, number

    def to_example(self, path: str) -> Example:
        video, number = self.video_and_index
        media = tuple(
            Media(kind="features", path=path, key=f"{name}/{self.id}")
            for name in WIDTHS
            if getattr(self, name)
        )
        meta = {"video": video, "utterance": number}
        post = Post(id=self.id, text=self.transcript, media=media, meta=dict(meta))
        return Example(
            post=post, opinions=(Opinion(annotator="gold", polarity=_LABELS[self.label]),)
        )

    def to_features(self) -> UtteranceFeatures:
        video, number = self.video_and_index
        vectors = {name: getattr(self, name) for name in WIDTHS}
        return UtteranceFeatures(self.id, video, int(number) if number.isdigit() else 0, vectors)


def split_of(video: str) -> str:
    """`dev` for about a fifth of all videos, `train` for the others; the same on every machine."""
    digest = hashlib.sha256(video.encode()).hexdigest()
    return "train" if int(digest[:8], 16) % 5 else "dev"


@datasets.register
class Mosi:
    """Train, dev and test of CMU-MOSI; train and dev share a file, and no video."""

    about = (
        "CMU-MOSI, spoken utterances with sound and film (Zadeh et al. 2016), 1057/390/447; "
        "the film's vectors know the labels of train and dev."
    )
    splits: tuple[str, ...] = ("train", "dev", "test")
    is_packaged = False

    def media_root(self, root: Path) -> Path:
        """The folder in the cache in which sound and film are kept."""
        return dataset_cache_folder("mosi")

    def read(self, root: Path, split: str) -> Rows:
        """The utterances of a split. Rejected rows belong to train and dev alike.

        Raises `UserError` when the cache folder cannot be written.
        """
        train_path = require_file(root, "mosi/train.jsonl")
        source_path = require_file(root, "mosi/test.jsonl") if split == "test" else train_path
        return _examples(source_path, train_path, split)


def _examples(path: Path, train_path: Path, split: str) -> Iterator[Example | Rejected]:
    folder_name = _ensure_features(path, train_path)
    for row in jsonl.read(path, _MosiRow):
        if isinstance(row, Rejected):
            yield row
        elif split == "test" or split_of(row.video_and_index[0]) == split:
            yield row.to_example(f"{folder_name}/{FEATURES_FILE}")


def _ensure_features(path: Path, train_path: Path) -> str:
    """Have the vectors of a file in the cache; the name of their folder there."""
    key_parts = [
        FEATURES_VERSION,
        str(MAX_STEPS),
        *(manifest.sha256(p) for p in (path, train_path)),
    ]
    folder_name = hashlib.sha256(" ".join(key_parts).encode()).hexdigest()[:16]

    def build_utterances() -> tuple[list[UtteranceFeatures], list[UtteranceFeatures]]:
        utterances = _read_features(path)
        train_utterances = utterances if path == train_path else _read_features(train_path)
        return utterances, [u for u in train_utterances if split_of(u.video) == "train"]

    ensure_cached(dataset_cache_folder("mosi") / folder_name, build_utterances)
    return folder_name


def _read_features(path: Path) -> list[UtteranceFeatures]:
    rows = jsonl.read(path, _MosiRow)
    return [row.to_features() for row in rows if isinstance(row, _MosiRow)]
