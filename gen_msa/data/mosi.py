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
from gen_msa.data._disk import on_disk
from gen_msa.data.base import Rows, datasets
from gen_msa.types import Example, Media, Opinion, Polarity, Post, Rejected

_LABELS = {0: Polarity.NEGATIVE, 1: Polarity.POSITIVE}
WIDTHS = {"audio": 73, "video": 100}


def _wide(width: int) -> AfterValidator:
    def check(vector: tuple[float, ...]) -> tuple[float, ...]:
        if vector and len(vector) != width:
            raise ValueError(f"{len(vector)} numbers, not {width}")
        return vector

    return AfterValidator(check)


class _Utterance(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str
    transcript: str
    label: Literal[0, 1]
    audio: Annotated[tuple[FiniteFloat, ...], _wide(WIDTHS["audio"])] = ()
    video: Annotated[tuple[FiniteFloat, ...], _wide(WIDTHS["video"])] = ()

    @property
    def place(self) -> tuple[str, str]:
        """Video and utterance."""
        video, _, number = self.id.rpartition("_")
        return video, number

    def example(self, path: str) -> Example:
        video, number = self.place
        media = tuple(
            Media(kind="features", path=path, key=f"{name}/{self.id}")
            for name in WIDTHS
            if getattr(self, name)
        )
        meta = {"video": video, "utterance": number}
        post = Post(id=self.id, text=self.transcript, media=media, meta=dict(meta))
        return Example(post=post, opinions=(Opinion(by="gold", polarity=_LABELS[self.label]),))

    def measured(self) -> _steps.Utterance:
        video, number = self.place
        vectors = {name: getattr(self, name) for name in WIDTHS}
        return _steps.Utterance(self.id, video, int(number) if number.isdigit() else 0, vectors)


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
    shipped = False

    def media_root(self, root: Path) -> Path:
        """The folder in the cache in which sound and film are kept."""
        return _steps.home("mosi")

    def read(self, root: Path, split: str) -> Rows:
        """The utterances of a split. Rejected rows belong to train and dev alike.

        Raises `UserError` when the cache folder cannot be written.
        """
        learned = on_disk(root, "mosi/train.jsonl")
        own = on_disk(root, "mosi/test.jsonl") if split == "test" else learned
        return _examples(own, learned, split)


def _examples(path: Path, learned: Path, split: str) -> Iterator[Example | Rejected]:
    name = _kept(path, learned)
    for row in jsonl.read(path, _Utterance):
        if isinstance(row, Rejected):
            yield row
        elif split == "test" or split_of(row.place[0]) == split:
            yield row.example(f"{name}/{_steps.FILE}")


def _kept(path: Path, learned: Path) -> str:
    """Have the vectors of a file in the cache; the name of their folder there."""
    facts = [_steps.VERSION, str(_steps.STEPS), *(manifest.sha256(p) for p in (path, learned))]
    name = hashlib.sha256(" ".join(facts).encode()).hexdigest()[:16]

    def measured() -> tuple[list[_steps.Utterance], list[_steps.Utterance]]:
        own = _measured(path)
        known = own if path == learned else _measured(learned)
        return own, [u for u in known if split_of(u.video) == "train"]

    _steps.cached(_steps.home("mosi") / name, measured)
    return name


def _measured(path: Path) -> list[_steps.Utterance]:
    rows = jsonl.read(path, _Utterance)
    return [row.measured() for row in rows if isinstance(row, _Utterance)]
