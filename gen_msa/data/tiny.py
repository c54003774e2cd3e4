"""tiny: 40 posts and 39 drawn pictures of our own making, shipped with the package.

Knows nothing of how they were drawn (`tests/fixtures/tiny/generate.py` does). More than half of the
posts have two aspects of opposite polarity; some are neutral, negated or ironic, where only the
picture tells; some have writing in the picture; five are not in English. `meta` has `caption`,
`objects`, `language` and, for writing in the picture, `ocr`. Gold opinions carry a reason and their
evidence. Too small to train or to compare systems on.

    open_source("tiny").rows()
"""

from pathlib import Path

from gen_msa import jsonl
from gen_msa.data.base import Rows, datasets
from gen_msa.types import Example

FOLDER = Path(__file__).parent / "_tiny"


@datasets.register
class Tiny:
    """All 40 posts in one split."""

    about = "40 posts and pictures of our own, made for trying things out; shipped, no citation."
    splits: tuple[str, ...] = ("all",)
    is_packaged = True

    def media_root(self, root: Path) -> Path:
        """The folder inside the package; `root` is not looked at."""
        return FOLDER

    def read(self, root: Path, split: str) -> Rows:
        """The posts in the order they were written; `root` is not looked at."""
        return jsonl.read(FOLDER / "posts.jsonl", Example)
