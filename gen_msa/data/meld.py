"""MELD: utterances of dialogues from a television series, with sentiment and emotion.

Read from `meld/SPLIT.csv`. The utterances before one have the same `meta["Dialogue_ID"]` and a
smaller `meta["Utterance_ID"]`.

    open_source("meld:dev").rows()
"""

from pathlib import Path

from gen_msa.data import Rows, datasets
from gen_msa.data._disk import on_disk
from gen_msa.data.formats import formats


class Meld:
    """Train, dev and test of MELD, text only."""

    about = "MELD, dialogue utterances (Poria et al. 2019), 9989/1109/2610 utterances."
    splits: tuple[str, ...] = ("train", "dev", "test")
    shipped = False

    def media_root(self, root: Path) -> Path:
        """The folder of the corpus; it has no pictures."""
        return root / "meld"

    def read(self, root: Path, split: str) -> Rows:
        """The utterances of a split."""
        return formats["meld_csv"].read(on_disk(root, f"meld/{split}.csv"))


datasets.register(Meld())
