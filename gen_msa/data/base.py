"""What a data set is, and the registry of data sets.

Knows no data set. `Source` is what the rest of the package reads examples from.

    datasets["mams"].read(root, "dev")
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gen_msa.registry import InstanceRegistry
from gen_msa.types import Example, Rejected

Rows = Iterator[Example | Rejected]


class Dataset(Protocol):
    """A corpus with named splits. Gold labels come as opinions by `gold`."""

    about: str
    """One line: what it is and whom to cite."""
    splits: tuple[str, ...]
    is_packaged: bool
    """True when the corpus comes with the package and needs no `GEN_MSA_DATA`."""

    def media_root(self, root: Path) -> Path:
        """The folder that `Media.path` is relative to."""
        ...

    def read(self, root: Path, split: str) -> Rows:
        """Every row of one split, in the order of the file."""
        ...


datasets: InstanceRegistry[Dataset] = InstanceRegistry(
    "dataset", "gen_msa.data", "gen_msa.datasets", catalog="catalog"
)


@dataclass(frozen=True)
class ExampleSource:
    """Examples to be read, possibly more than once, and where their pictures lie."""

    name: str
    media_root: Path
    rows: Callable[[], Rows]
