"""tiny: 40 posts and 39 drawn images, part of the package.

`tests/fixtures/tiny/generate.py` draws the images. More than half of the posts have two aspects
with opposite polarities; some are neutral, negated or ironic and need the image; some images
contain text; five posts are not in English. `meta` has `caption`, `objects`, `language` and, for
text in the image, `ocr`. Gold opinions have an explanation and evidence. Too small to train or to
compare systems.

    open_examples("tiny").rows()
"""

from pathlib import Path

from gen_msa import jsonl
from gen_msa.data.base import datasets
from gen_msa.data.formats.base import ExampleStream
from gen_msa.types import Example

FOLDER = Path(__file__).parent / "_tiny"


@datasets.register
class Tiny:
    """All 40 posts in one split."""

    about = "40 hand-written posts with drawn images, for trying things out; packaged, no citation."
    splits: tuple[str, ...] = ("all",)
    is_packaged = True

    def media_root(self, root: Path) -> Path:
        """Return the folder inside the package; `root` is ignored."""
        return FOLDER

    def read(self, root: Path, split: str) -> ExampleStream:
        """Read the posts, in order.

        Args:
            root: Ignored.
            split: `all`.

        Returns:
            The packaged posts.
        """
        return jsonl.read(FOLDER / "posts.jsonl", Example)
