"""CMU-MOSI: spoken utterances with transcript, audio and video features.

The files are `mosi/train.jsonl` and `mosi/test.jsonl`. An id is VIDEO_UTTERANCE; `meta` has both
parts, so the utterances of a video can be ordered. The label is binary: 1 is a positive opinion by
`gold` on the complete utterance, 0 a negative one.

A post has two media of kind `features`, `audio/ID` (73 dimensions) and `video/ID` (100). A step is
the vector of one utterance; the steps are the last 8 utterances of the video up to and including
this one. They are computed from the JSON lines once and stored in the user's cache folder. The text
vectors of the files are ignored in favour of the transcript.

The video vectors leak labels: a logistic regression on `video` alone has 91 % accuracy on train and
on dev, so their extractor must have been trained on the labels of `train.jsonl`. Dev metrics of a
student with `video` input are too high, and do not transfer to new posts. `audio` shows no such
effect: 63 % on train and 45 % on dev.

There is no official dev split: a video of `train.jsonl` is in dev if the first 8 hexadecimal digits
of the sha256 of its name are divisible by 5, else in train. No video is in both.

    open_examples("mosi:dev").rows()
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
from gen_msa.data.base import datasets, require_file
from gen_msa.data.formats.base import ExampleStream
from gen_msa.encoders.vision.base import cache_folder
from gen_msa.errors import write_errors
from gen_msa.types import Example, Media, Opinion, Polarity, Post, Rejected

MAX_STEPS = 8
"""Maximum length of a sequence."""
MAX_ABS_ZSCORE = 5.0
"""Standardized values are clipped to this; larger ones are mostly measurement errors."""
FEATURES_VERSION = "1"
"""Changes if the same source gives other numbers."""
FEATURES_FILE = "features.safetensors"

ModalityVectors = Mapping[str, Sequence[float]]
"""Vector by modality; empty if it is missing."""


@dataclass(frozen=True)
class UtteranceFeatures:
    """The feature vectors of one utterance."""

    id: str
    video: str
    position: int
    """Position in the video."""
    vectors: ModalityVectors


def dataset_cache_folder(corpus: str) -> Path:
    """Return the cache folder of a data set."""
    return cache_folder() / corpus


def ensure_cached(
    folder: Path,
    build_utterances: Callable[[], tuple[list[UtteranceFeatures], list[UtteranceFeatures]]],
) -> None:
    """Write the feature file of `folder` unless it is already there and intact.

    Args:
        folder: The folder of the file.
        build_utterances: Returns the utterances, and those that the standardization is fitted on;
            called only if the file must be written.

    Raises:
        UserError: The file cannot be written.
    """
    if manifest.is_intact(folder):
        return
    tensors = build_sequences(*build_utterances())
    hint = "set GEN_MSA_CACHE to a folder that can be written"
    with (
        write_errors(f"features in {folder.parent}", hint=hint),
        manifest.atomic_directory(folder) as draft,
    ):
        (draft / FEATURES_FILE).write_bytes(to_safetensors(tensors))


def build_sequences(
    utterances: Sequence[UtteranceFeatures], fit_utterances: Sequence[UtteranceFeatures]
) -> dict[str, list[Sequence[float]]]:
    """Build the sequence of each utterance: vectors of the video's last utterances, oldest first.

    Args:
        utterances: The utterances.
        fit_utterances: The utterances whose mean and standard deviation standardize the vectors.

    Returns:
        `MODALITY/ID` -> vectors, `(steps, width)` with at most `MAX_STEPS` steps.
    """
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
        # A constant column has no information.
        return [
            min(max((x - m) / s, -MAX_ABS_ZSCORE), MAX_ABS_ZSCORE) if s > 1e-9 else 0.0
            for x, m, s in zip(vector, means, stds, strict=True)
        ]

    return standardize


def to_safetensors(tensors: Mapping[str, Sequence[Sequence[float]]]) -> bytes:
    """Return the bytes of a safetensors file of float32 matrices.

    Written here because the safetensors library is in an optional extra, and data sets must be
    readable without extras; the format is a length, a JSON header and the numbers.
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
        """Video and number of the utterance."""
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
    """Return `dev` for about a fifth of all videos, else `train`; the same on every machine."""
    digest = hashlib.sha256(video.encode()).hexdigest()
    return "train" if int(digest[:8], 16) % 5 else "dev"


@datasets.register
class Mosi:
    """Train, dev and test of CMU-MOSI; train and dev are parts of one file."""

    about = (
        "CMU-MOSI, spoken utterances with audio and video (Zadeh et al. 2016), 1057/390/447; "
        "the video features leak the labels of train and dev."
    )
    splits: tuple[str, ...] = ("train", "dev", "test")
    is_packaged = False

    def media_root(self, root: Path) -> Path:
        """Return the cache folder of the features."""
        return dataset_cache_folder("mosi")

    def read(self, root: Path, split: str) -> ExampleStream:
        """Read the utterances of a split. Rejected rows belong to both train and dev.

        Args:
            root: The data root.
            split: One of `splits`.

        Returns:
            The utterances, with the path of their features, and the rejected rows.

        Raises:
            UserError: The cache folder cannot be written.
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
    """Write the features of a file to the cache if needed; return their folder name."""
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
