"""Where examples come from: corpora by name, and the user's own files.

A corpus is a file here (`data/mams.py`): where its files lie below `GEN_MSA_DATA` and in which
format. Knows nothing of readers, prompts or metrics.

    open_source("twitter2015:dev").rows()      # a corpus and its split
    open_source("posts.jsonl").rows()          # a file; its pictures lie beside it
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gen_msa.data.formats import format_of
from gen_msa.errors import UserError, did_you_mean
from gen_msa.registry import Registry
from gen_msa.types import Example, Rejected

Rows = Iterator[Example | Rejected]

ROOT_VARIABLE = "GEN_MSA_DATA"


class Dataset(Protocol):
    """A corpus with named splits. Gold labels come as opinions by `gold`."""

    about: str
    """One line: what it is and whom to cite."""
    splits: tuple[str, ...]
    shipped: bool
    """True when the corpus comes with the package and needs no `GEN_MSA_DATA`."""

    def media_root(self, root: Path) -> Path:
        """The folder that `Media.path` is relative to."""
        ...

    def read(self, root: Path, split: str) -> Rows:
        """Every row of one split, in the order of the file."""
        ...


datasets: Registry[Dataset] = Registry("dataset", __name__, "gen_msa.datasets")


@dataclass(frozen=True)
class Source:
    """Examples to be read, possibly more than once, and where their pictures lie."""

    name: str
    media_root: Path
    rows: Callable[[], Rows]


def open_source(ref: str, *, format: str | None = None, media_root: Path | None = None) -> Source:
    """The examples behind `PATH` or `DATASET[:SPLIT]`.

    `format` names the file format when the suffix does not tell; `media_root` overrides where
    pictures are looked for (default: the file's folder, or the corpus' own).
    """
    path = Path(ref)
    if path.exists():
        kind = format_of(path, format)
        return Source(ref, media_root or path.parent, lambda: kind.read(path))
    name, _, split = ref.partition(":")
    if name not in datasets:
        known = did_you_mean(name, datasets.names())
        raise UserError(f"{ref!r} is neither a file nor a dataset", mend=known)
    return _corpus(datasets[name], name, split, media_root)


def _corpus(dataset: Dataset, name: str, split: str, media_root: Path | None) -> Source:
    if not split and len(dataset.splits) == 1:
        split = dataset.splits[0]
    if split not in dataset.splits:
        known = ", ".join(f"{name}:{s}" for s in dataset.splits)
        raise UserError(f"{name} has no split {split!r}", mend=f"write one of {known}")
    root = Path() if dataset.shipped else data_root()
    own = dataset.media_root(root)
    return Source(f"{name}:{split}", media_root or own, lambda: dataset.read(root, split))


def data_root() -> Path:
    """The folder of research data, from the environment variable `GEN_MSA_DATA`."""
    value = os.environ.get(ROOT_VARIABLE, "")
    if not value or not Path(value).is_dir():
        raise UserError(
            f"{ROOT_VARIABLE} {'is not set' if not value else f'names no folder: {value}'}",
            mend=f"export {ROOT_VARIABLE}=FOLDER (its layout is described in CONTRIBUTING.md)",
        )
    return Path(value)


# The door opens on conversion last: it is written in terms of `Source`.
from gen_msa.data._convert import convert  # noqa: E402

__all__ = [
    "ROOT_VARIABLE",
    "Dataset",
    "Rows",
    "Source",
    "convert",
    "data_root",
    "datasets",
    "open_source",
]
