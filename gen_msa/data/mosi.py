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
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, FiniteFloat

from gen_msa import jsonl, manifest
from gen_msa.data import _steps
from gen_msa.data._disk import require_file
from gen_msa.data.base import Rows, datasets
from gen_msa.types import Example, Media, Opinion, Polarity, Post, Rejected

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
        return Example(post=post, opinions=(Opinion(annotator="gold", polarity=_LABELS[self.label]),))

    def to_features(self) -> _steps.UtteranceFeatures:
        video, number = self.video_and_index
        vectors = {name: getattr(self, name) for name in WIDTHS}
        return _steps.UtteranceFeatures(self.id, video, int(number) if number.isdigit() else 0, vectors)


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
        return _steps.dataset_cache_folder("mosi")

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
            yield row.to_example(f"{folder_name}/{_steps.FEATURES_FILE}")


def _ensure_features(path: Path, train_path: Path) -> str:
    """Have the vectors of a file in the cache; the name of their folder there."""
    key_parts = [_steps.FEATURES_VERSION, str(_steps.MAX_STEPS), *(manifest.sha256(p) for p in (path, train_path))]
    folder_name = hashlib.sha256(" ".join(key_parts).encode()).hexdigest()[:16]

    def build_utterances() -> tuple[list[_steps.UtteranceFeatures], list[_steps.UtteranceFeatures]]:
        utterances = _read_features(path)
        train_utterances = utterances if path == train_path else _read_features(train_path)
        return utterances, [u for u in train_utterances if split_of(u.video) == "train"]

    _steps.ensure_cached(_steps.dataset_cache_folder("mosi") / folder_name, build_utterances)
    return folder_name


def _read_features(path: Path) -> list[_steps.UtteranceFeatures]:
    rows = jsonl.read(path, _MosiRow)
    return [row.to_features() for row in rows if isinstance(row, _MosiRow)]
