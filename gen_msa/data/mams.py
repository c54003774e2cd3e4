"""MAMS: restaurant sentences, each with at least two aspects of different sentiment.

Read from `mams_atsa/`; its `val.xml` is the split dev.

    open_source("mams:dev").rows()
"""

from pathlib import Path

from gen_msa.data import Rows, datasets
from gen_msa.data._disk import on_disk
from gen_msa.data.formats import formats

_FILES = {"train": "train.xml", "dev": "val.xml", "test": "test.xml"}


class Mams:
    """Train, dev and test of MAMS, aspect terms."""

    about = "MAMS, sentences with opposite sentiments (Jiang et al. 2019), 11186/1332/1336 aspects."
    splits: tuple[str, ...] = tuple(_FILES)
    shipped = False

    def media_root(self, root: Path) -> Path:
        """The folder of the corpus; it has no pictures."""
        return root / "mams_atsa"

    def read(self, root: Path, split: str) -> Rows:
        """The sentences of a split."""
        return formats["semeval_xml"].read(on_disk(root, f"mams_atsa/{_FILES[split]}"))


datasets.register(Mams())
