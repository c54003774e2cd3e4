"""The interface of data sets, their registry, and which split a source name means.

datasets["mams"].read(root, "dev")
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gen_msa.data.formats.base import ExampleStream
from gen_msa.errors import UserError
from gen_msa.input_notes import InputNotes
from gen_msa.registry import InstanceRegistry

# Tell test splits, which tuning never reads, and train splits by the name of a source.

_EVALUATION_SPLIT_NAMES = {
    "dev",
    "devel",
    "development",
    "val",
    "valid",
    "validation",
    "eval",
    "heldout",
}


def is_test_split(source: str) -> bool:
    """Return whether `DATASET:SPLIT`, a file name or one of its folders names a test split.

    `test` must be a word between punctuation (`x-test.tsv`), not a part of one (`latest`).
    """
    *folders, name = source.rpartition(":")[2].lower().replace("\\", "/").split("/")
    return "test" in folders or "test" in re.split(r"[^a-z0-9]+", name)


def is_train_split(source: str) -> bool:
    """Return whether `DATASET:SPLIT` or a file name names a train split, and no other one."""
    name = source.rpartition(":")[2].lower().replace("\\", "/").rpartition("/")[2]
    name_parts = set(re.split(r"[^a-z0-9]+", name))
    return (
        bool(name_parts & {"train", "training"})
        and not name_parts & _EVALUATION_SPLIT_NAMES
        and not is_test_split(source)
    )


def require_file(root: Path, name: str) -> Path:
    """Return the path of a file below `root`.

    Args:
        root: The data root.
        name: The path of the file relative to `root`.

    Raises:
        UserError: There is no such file.
    """
    path = root / name
    if not path.is_file():
        raise UserError(
            f"{name} is not in {root}",
            hint="add the file (CONTRIBUTING.md describes the layout), or use another split",
        )
    return path


class Dataset(Protocol):
    """A data set with named splits. Gold labels are opinions by `gold`."""

    about: str
    """One line: the content and the paper to cite."""
    splits: tuple[str, ...]
    is_packaged: bool
    """True if the data set is part of the package and needs no `GEN_MSA_DATA`."""

    def media_root(self, root: Path) -> Path:
        """Return the folder that `Media.path` is relative to."""
        ...

    def read(self, root: Path, split: str) -> ExampleStream:
        """Read every row of one split, in the order of the file.

        Args:
            root: The data root; packaged data sets ignore it.
            split: One of `splits`.

        Returns:
            The examples, with `Rejected` in place of each row that cannot be read.
        """
        ...


datasets: InstanceRegistry[Dataset] = InstanceRegistry(
    "dataset", "gen_msa.data", "gen_msa.datasets", catalog="catalog"
)


@dataclass(frozen=True)
class ExampleSource:
    """Examples that can be read several times, and the folder of their media."""

    name: str
    media_root: Path
    read: Callable[[], ExampleStream]
    """Reads every row anew."""
    notes: InputNotes = field(default_factory=InputNotes, compare=False)
    """What `rows` has found so far that was guessed or not used."""

    def rows(self) -> ExampleStream:
        """Read every row; what is noted meanwhile is added to `notes`."""
        return self.notes.collect(self.read)
