"""SemEval-2014 laptop reviews, with a dependency parse.

Read from `semeval14_dep/Laptops_stanza/`. Every post brings its parse, so no parser is needed.

    open_source("semeval14_laptops:test").rows()
"""

from pathlib import Path

from gen_msa.data import Rows, datasets
from gen_msa.data._disk import on_disk
from gen_msa.data.formats import formats


class Semeval14Laptops:
    """Train and test of the laptop reviews, aspect terms."""

    about = "SemEval-2014 laptop reviews with parses (Pontiki et al. 2014), 2282/632 aspects."
    splits: tuple[str, ...] = ("train", "test")
    shipped = False

    def media_root(self, root: Path) -> Path:
        """The folder of the corpus; it has no pictures."""
        return root / "semeval14_dep"

    def read(self, root: Path, split: str) -> Rows:
        """The sentences of a split."""
        path = on_disk(root, f"semeval14_dep/Laptops_stanza/{split}.json")
        return formats["stanza_json"].read(path)


datasets.register(Semeval14Laptops())
