"""Twitter-2017: tweets with targets and their sentiment, in TomBERT's release.

Read from `twitter2017/tombert/SPLIT.tsv`. The test split is kept aside: naming it is an error
until its file is there. Pictures are named as published and are looked for in
`twitter2017/images/`; captions and descriptions may stand in for them.

    open_source("twitter2017:dev").rows()
"""

from pathlib import Path

from gen_msa.data import Rows, datasets
from gen_msa.data._disk import on_disk
from gen_msa.data.formats import formats


class Twitter2017:
    """Train, dev and test of Twitter-2017."""

    about = "Twitter-2017, tweets with targets (Yu and Jiang 2019), 3562 / 1176 aspects."
    splits: tuple[str, ...] = ("train", "dev", "test")
    shipped = False

    def media_root(self, root: Path) -> Path:
        """Where the tweets' pictures would lie."""
        return root / "twitter2017" / "images"

    def read(self, root: Path, split: str) -> Rows:
        """The posts of a split; rows of one post are joined."""
        return formats["tombert_tsv"].read(on_disk(root, f"twitter2017/tombert/{split}.tsv"))


datasets.register(Twitter2017())
