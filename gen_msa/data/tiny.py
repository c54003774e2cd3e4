"""`tiny`: forty posts with drawn pictures and our own reading of them, shipped with the package.

For trying things out and for tests, never for figures. Half the posts hold opposite opinions of two
things; in a few the picture turns the words round. Knows nothing of `GEN_MSA_DATA`.

    gen-msa explain tiny --reader echo
"""

from collections.abc import Iterator
from pathlib import Path

from gen_msa.data import datasets
from gen_msa.data.formats import formats
from gen_msa.types import Example, Rejected

_FOLDER = Path(__file__).parent / "_tiny"


class Tiny:
    """The shipped posts."""

    about = "Forty posts of our own making with drawn pictures; for trying things out."
    splits: tuple[str, ...] = ("all",)
    shipped = True

    def media_root(self, root: Path) -> Path:
        """Inside the package, whatever `root` is."""
        return _FOLDER

    def read(self, root: Path, split: str) -> Iterator[Example | Rejected]:
        """Every post, in order."""
        return formats["jsonl"].read(_FOLDER / "posts.jsonl")


datasets.register(Tiny())
