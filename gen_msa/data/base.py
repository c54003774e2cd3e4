"""What a data set is, and the registry of data sets.

Knows no data set. `Source` is what the rest of the package reads examples from.

    datasets["mams"].read(root, "dev")
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gen_msa.errors import UserError
from gen_msa.registry import InstanceRegistry
from gen_msa.types import Example, Rejected

# The folder of a corpus below the data root, and a clear error when a file is not there.


def require_file(root: Path, name: str) -> Path:
    """The file `name` below `root`. Raises `UserError` when it is not there."""
    path = root / name
    if not path.is_file():
        raise UserError(
            f"{name} is not below {root}",
            hint="put it there (CONTRIBUTING.md describes the layout), or use another split",
        )
    return path


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
