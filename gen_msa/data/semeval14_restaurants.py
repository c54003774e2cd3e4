"""SemEval-2014 restaurant reviews, with a dependency parse.

Read from `semeval14_dep/Restaurants_stanza/`. Every post brings its parse, so no parser is
needed.

    open_source("semeval14_restaurants:test").rows()
"""

from pathlib import Path

from gen_msa.data import Rows, datasets
from gen_msa.data._disk import on_disk
from gen_msa.data.formats import formats


class Semeval14Restaurants:
    """Train and test of the restaurant reviews, aspect terms."""

    about = "SemEval-2014 restaurant reviews with parses (Pontiki et al. 2014), 3608/1119 aspects."
    splits: tuple[str, ...] = ("train", "test")
    shipped = False

    def media_root(self, root: Path) -> Path:
        """The folder of the corpus; it has no pictures."""
        return root / "semeval14_dep"

    def read(self, root: Path, split: str) -> Rows:
        """The sentences of a split."""
        path = on_disk(root, f"semeval14_dep/Restaurants_stanza/{split}.json")
        return formats["stanza_json"].read(path)


datasets.register(Semeval14Restaurants())
