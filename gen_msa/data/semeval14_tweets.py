"""Tweets with one target each, in the form of the parsed SemEval files, with a dependency parse.

Read from `semeval14_dep/Tweets_stanza/`. Every post brings its parse, so no parser is needed.

    open_source("semeval14_tweets:test").rows()
"""

from pathlib import Path

from gen_msa.data import Rows, datasets
from gen_msa.data._disk import on_disk
from gen_msa.data.formats import formats


class Semeval14Tweets:
    """The test split of the tweets, aspect terms."""

    about = "Tweets with a target with parses (Dong et al. 2014), 677 aspects."
    splits: tuple[str, ...] = ("test",)
    shipped = False

    def media_root(self, root: Path) -> Path:
        """The folder of the corpus; it has no pictures."""
        return root / "semeval14_dep"

    def read(self, root: Path, split: str) -> Rows:
        """The sentences of a split."""
        path = on_disk(root, f"semeval14_dep/Tweets_stanza/{split}.json")
        return formats["stanza_json"].read(path)


datasets.register(Semeval14Tweets())
