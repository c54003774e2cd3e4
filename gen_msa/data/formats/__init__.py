"""File formats: how examples lie on disk. A format is a file here, named as users name it.

Knows nothing of particular corpora (`gen_msa.data` does). Every format reads lazily, sets bad rows
aside as `Rejected`, and what it writes it reads back equal; a field it has no room for is a
`UserError` that names the field, never a silent loss.

    for row in formats["tombert_tsv"].read(Path("dev.tsv")): ...
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from gen_msa.data.formats._locate import locate
from gen_msa.errors import UserError, did_you_mean
from gen_msa.registry import Registry
from gen_msa.types import Example, Rejected

__all__ = ["Format", "format_of", "formats", "locate"]


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


formats: Registry[Format] = Registry("format", __name__, "gen_msa.formats")


def format_of(path: Path, name: str | None = None) -> Format:
    """The format called `name`, or the one whose suffix the path has.

    Raises `UserError` when neither decides.
    """
    if name is not None:
        return formats[name]
    by_suffix = {s: n for n in formats.names() for s in formats[n].suffixes}
    if path.suffix not in by_suffix:
        known = did_you_mean(path.suffix, by_suffix)
        raise UserError(f"cannot tell the format of {path}", mend=f"say --format NAME; {known}")
    return formats[by_suffix[path.suffix]]
