"""The interface of file formats, and their registry.

format_of(Path("dev.jsonl")).read(Path("dev.jsonl"))
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from gen_msa.errors import UserError, did_you_mean
from gen_msa.registry import InstanceRegistry
from gen_msa.types import Example, Rejected

ExampleStream = Iterator[Example | Rejected]
"""Rows of a file, in order."""


class Format(Protocol):
    """Reads and writes one file of examples."""

    suffixes: tuple[str, ...]
    """Suffixes of this format, e.g. `(".jsonl",)`; may be empty."""
    about: str
    """One line for `gen-msa ls formats`."""

    def read(self, path: Path) -> ExampleStream:
        """Read every row of the file, in order."""
        ...

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Write the examples; the file appears only when it is complete.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: The format cannot store a field of an example.
        """
        ...


formats: InstanceRegistry[Format] = InstanceRegistry(
    "format", "gen_msa.data.formats", "gen_msa.formats"
)


def format_of(path: Path, name: str | None = None) -> Format:
    """Return the format called `name`, or the one of the path's suffix.

    Args:
        path: The file.
        name: The name of a format, or None.

    Raises:
        UserError: Neither decides.
    """
    if name is not None:
        return formats[name]
    # The format that is named like the suffix is asked first, so that the others need no import.
    named = path.suffix.removeprefix(".")
    if named in formats and path.suffix in formats[named].suffixes:
        return formats[named]
    by_suffix = {s: n for n in formats.names() for s in formats[n].suffixes}
    if path.suffix not in by_suffix:
        suggestion = did_you_mean(path.suffix, by_suffix)
        raise UserError(
            f"cannot tell the format of {path}", hint=f"use --format NAME; {suggestion}"
        )
    return formats[by_suffix[path.suffix]]
