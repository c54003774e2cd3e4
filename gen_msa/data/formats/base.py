"""What a file format is, and the registry of formats.

Knows no format. `format_of` finds one by its name or by a file's suffix.

    format_of(Path("dev.jsonl")).read(Path("dev.jsonl"))
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from gen_msa.errors import UserError, did_you_mean
from gen_msa.registry import InstanceRegistry
from gen_msa.types import Example, Rejected


class Format(Protocol):
    """Reads and writes one file of examples."""

    suffixes: tuple[str, ...]
    """File endings that mean this format without being told, e.g. `(".jsonl",)`; may be empty."""
    about: str
    """One line for `gen-msa ls formats`."""

    def read(self, path: Path) -> Iterator[Example | Rejected]:
        """Every row of the file, in order."""
        ...

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Write the examples; the file appears only when it is complete."""
        ...


formats: InstanceRegistry[Format] = InstanceRegistry(
    "format", "gen_msa.data.formats", "gen_msa.formats"
)


def format_of(path: Path, name: str | None = None) -> Format:
    """The format called `name`, or the one whose suffix the path has.

    Raises `UserError` when neither decides.
    """
    if name is not None:
        return formats[name]
    by_suffix = {s: n for n in formats.names() for s in formats[n].suffixes}
    if path.suffix not in by_suffix:
        suggestion = did_you_mean(path.suffix, by_suffix)
        raise UserError(
            f"cannot tell the format of {path}", hint=f"say --format NAME; {suggestion}"
        )
    return formats[by_suffix[path.suffix]]
