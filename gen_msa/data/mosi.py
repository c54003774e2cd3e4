"""CMU-MOSI: spoken utterances, read from their transcripts.

Read from `mosi/SPLIT.jsonl`. An id is VIDEO_UTTERANCE; `meta` has both, so that the utterances of
a video can be put in order. The label is binary: 1 is a positive opinion by `gold` on the
utterance as a whole, 0 a negative one. The files also hold vectors for text, sound and film. They
are not read: a post refers to features in a safetensors file, and these files have none.

    open_source("mosi:train").rows()
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from gen_msa import jsonl
from gen_msa.data import Rows, datasets
from gen_msa.data._disk import on_disk
from gen_msa.types import Example, Opinion, Polarity, Post, Rejected

_LABELS = {0: Polarity.NEGATIVE, 1: Polarity.POSITIVE}


class _Utterance(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str
    transcript: str
    label: Literal[0, 1]

    def example(self) -> Example:
        video, _, number = self.id.rpartition("_")
        meta = {"video": video, "utterance": number}
        post = Post(id=self.id, text=self.transcript, meta=dict(meta))
        return Example(post=post, opinions=(Opinion(by="gold", polarity=_LABELS[self.label]),))


class Mosi:
    """Train and test of CMU-MOSI, transcripts only."""

    about = "CMU-MOSI, spoken utterances (Zadeh et al. 2016), 1447/447, transcripts only."
    splits: tuple[str, ...] = ("train", "test")
    shipped = False

    def media_root(self, root: Path) -> Path:
        """The folder of the corpus; its sound and film are not there."""
        return root / "mosi"

    def read(self, root: Path, split: str) -> Rows:
        """The utterances of a split."""
        return _examples(on_disk(root, f"mosi/{split}.jsonl"))


def _examples(path: Path) -> Iterator[Example | Rejected]:
    for row in jsonl.read(path, _Utterance):
        yield row if isinstance(row, Rejected) else row.example()


datasets.register(Mosi())
