"""MVSA-Single: posts with images, labelled as a whole and for each modality.

The file is `mvsa_single/items.jsonl`. The label of the post is an opinion by `gold`; if the labels
of text and image conflict, there is none. The labels of text and image alone are opinions by
`gold_text` and `gold_image`. `meta["minigpt4_description"]` is a model's description of the image,
where available.

The data set has no official split: a post is in dev if the first 8 hexadecimal digits of the sha256
of its id are divisible by 10, else in train (about 90 to 10). No post ever changes its split.

    open_examples("mvsa_single:dev").rows()
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from gen_msa import jsonl
from gen_msa.data.base import datasets, require_file
from gen_msa.data.formats.base import ExampleStream
from gen_msa.types import Example, Media, Opinion, Polarity, Post, Rejected


class _Item(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1)
    image: str = Field(min_length=1)
    text: str
    text_label: Polarity
    image_label: Polarity
    label: Polarity | None
    minigpt4_description: str | None = None

    def to_example(self) -> Example:
        description = self.minigpt4_description
        labels = {"gold": self.label, "gold_text": self.text_label, "gold_image": self.image_label}
        return Example(
            post=Post(
                id=self.id,
                text=self.text,
                media=(Media(kind="image", path=self.image),),
                meta={} if description is None else {"minigpt4_description": description},
            ),
            opinions=tuple(
                Opinion(annotator=annotator, polarity=p) for annotator, p in labels.items() if p
            ),
        )


def split_of(post_id: str) -> str:
    """Return `dev` for about a tenth of all ids, else `train`; the same on every machine."""
    digest = hashlib.sha256(post_id.encode()).hexdigest()
    return "train" if int(digest[:8], 16) % 10 else "dev"


@datasets.register
class MvsaSingle:
    """Train and dev of MVSA-Single, split by a hash of the id."""

    about = "MVSA-Single, posts with images and post-level labels (Niu et al. 2016), 4358 posts."
    splits: tuple[str, ...] = ("train", "dev")
    is_packaged = False

    def media_root(self, root: Path) -> Path:
        """Return the folder that contains `images/`."""
        return root / "mvsa_single"

    def read(self, root: Path, split: str) -> ExampleStream:
        """Read the posts of a split. Rejected rows are in every split: their id is unknown.

        Args:
            root: The data root.
            split: One of `splits`.

        Returns:
            The posts of the split and the rejected rows, in the order of the file.
        """
        return _rows_in_split(require_file(root, "mvsa_single/items.jsonl"), split)


def _rows_in_split(path: Path, split: str) -> Iterator[Example | Rejected]:
    for row in jsonl.read(path, _Item):
        if isinstance(row, Rejected):
            yield row
        elif split_of(row.id) == split:
            yield row.to_example()
