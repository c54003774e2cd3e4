"""MORE: sarcastic captions, each with a human explanation.

The files are `more_sarcasm_explanations/SPLIT_df.tsv` (dev is `val_df.tsv`): id, caption and
explanation, without a header or quoting. There are no labels: the opinion by `gold` has an
`explanation` and no polarity. Many captions are in single quotes, which are removed;
`meta["quoted"]` records them. The images are not included; the id is the name of the image.

    open_examples("more_sarcasm:dev").rows()
"""

from collections.abc import Iterator
from pathlib import Path

from gen_msa.data.base import datasets, require_file
from gen_msa.data.formats.base import ExampleStream
from gen_msa.jsonl import read_lines
from gen_msa.types import Example, Opinion, Post, Rejected, Status

_FILES = {"train": "train_df.tsv", "dev": "val_df.tsv", "test": "test_df.tsv"}


@datasets.register
class MoreSarcasm:
    """Train, dev and test of MORE, text only."""

    about = "MORE, explained sarcastic captions (Desai et al. 2022), 2983/175/352, text only."
    splits: tuple[str, ...] = tuple(_FILES)
    is_packaged = False

    def media_root(self, root: Path) -> Path:
        """Return the folder of the data set, which has no images."""
        return root / "more_sarcasm_explanations"

    def read(self, root: Path, split: str) -> ExampleStream:
        """Read the captions of a split.

        Args:
            root: The data root.
            split: One of `splits`.

        Returns:
            One example per caption, with its explanation; `Rejected` for a row that cannot be read.
        """
        return _examples(require_file(root, f"more_sarcasm_explanations/{_FILES[split]}"))


def _examples(path: Path) -> Iterator[Example | Rejected]:
    for item in read_lines(path):
        if isinstance(item, Rejected):
            yield item
            continue
        number, raw = item
        text = raw.decode("utf-8", "replace")
        cells = text.split("\t")
        if len(cells) != 3 or not cells[0] or "\ufffd" in text:
            reason = f"{len(cells)} cells, not 3 of UTF-8 text: id, caption, explanation"
            yield Rejected(file=str(path), line=number, reason=reason, raw=text[:500])
            continue
        yield _example(*cells)


def _example(post_id: str, caption: str, explanation: str) -> Example:
    quoted = len(caption) > 1 and caption[0] == caption[-1] == "'"
    text = caption[1:-1].strip() if quoted else caption
    post = Post(id=post_id, text=text, meta={"quoted": quoted})
    opinion = Opinion(annotator="gold", explanation=explanation, status=Status.UNPARSED)
    return Example(post=post, opinions=(opinion,))
