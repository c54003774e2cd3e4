"""Finds the examples behind a file's path or the name of a data set and its split.

Knows nothing of what lies in the files.

    open_source("twitter2015:dev").rows()
"""

import os
from pathlib import Path

from gen_msa.data.base import Dataset, Source, datasets
from gen_msa.data.formats import format_of
from gen_msa.errors import UserError, did_you_mean

ROOT_VARIABLE = "GEN_MSA_DATA"


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
