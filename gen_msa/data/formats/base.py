"""The interface of file formats, their registry, and which format a file has.

The name decides, then the content, then the suffix. A format whose files share a suffix with others
(`.json`) lists it in `content_suffixes` and recognizes its own files by their first bytes.

    format_of_file(Path("export.json"))      # label_studio, if it is such an export
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from gen_msa.errors import UserError, did_you_mean
from gen_msa.registry import InstanceRegistry
from gen_msa.types import Example, Polarity, Rejected

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


@dataclass(frozen=True)
class ReadOptions:
    """How a user's own file is to be read."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Name of a field (`text`, `image`, `aspect`, …) -> name of its column or key in the file."""
    media_root: Path | None = None
    """Folder that media paths are relative to; None: the folder of the file."""
    label_map: Mapping[str, Polarity] = field(default_factory=dict)
    """Spelling of a label in the file -> what it means; `read_file` lets every format know them."""
    sep: str = ""
    """The character between the cells of a table; empty: detected."""


@runtime_checkable
class ReadsWithOptions(Protocol):
    """A format whose columns can be renamed, or that stores images of its files."""

    def read_with(self, path: Path, options: ReadOptions) -> ExampleStream:
        """Read every row of the file, in order.

        Args:
            path: The file.
            options: Names of columns, and the folder of media.

        Returns:
            The examples, with `Rejected` in place of each row that cannot be read.
        """
        ...


@runtime_checkable
class RecognizesContent(Protocol):
    """A format that knows its files by their first bytes."""

    content_suffixes: tuple[str, ...]
    """Suffixes of such files, which other formats may have as well."""

    def recognizes(self, head: bytes) -> bool:
        """Return whether a file that begins like this has the format; no other one may agree.

        Args:
            head: The first `HEAD_BYTES` of the file.
        """
        ...


HEAD_BYTES = 1 << 16
"""Bytes of a file by which its format is recognized."""

formats: InstanceRegistry[Format] = InstanceRegistry(
    "format", "gen_msa.data.formats", "gen_msa.formats"
)


def format_by_suffix() -> dict[str, str]:
    """Return the name of the format of each suffix; imports no format of the package."""
    return {s: name for name, suffixes in formats.literals("suffixes").items() for s in suffixes}


def format_of(path: Path, name: str | None = None) -> Format:
    """Return the format called `name`, or the one of the path's suffix.

    Args:
        path: The file, which need not exist.
        name: The name of a format, or None.

    Raises:
        UserError: Neither decides.
    """
    if name is not None:
        return formats[name]
    by_suffix = format_by_suffix()
    suffix = path.suffix.lower()
    if suffix not in by_suffix:
        candidates = _content_formats(suffix)
        suggestion = (
            f"NAME is perhaps {' or '.join(candidates)}"
            if candidates
            else did_you_mean(suffix, by_suffix)
        )
        raise UserError(
            f"cannot tell the format of {path}", hint=f"use --format NAME; {suggestion}"
        )
    return formats[by_suffix[suffix]]


def format_of_file(path: Path, name: str | None = None) -> Format:
    """Return the format of a file: the one called `name`, by content, or by suffix.

    Args:
        path: The file.
        name: The name of a format, or None.

    Raises:
        UserError: None of them decides, or two formats recognize the content.
    """
    candidates = _content_formats(path.suffix.lower()) if name is None else []
    if candidates:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        recognized = [n for n in candidates if _recognizes(formats[n], head)]
        if len(recognized) > 1:
            raise UserError(
                f"{path} may be {' or '.join(recognized)}",
                hint=f"name the format: --format {recognized[0]}",
            )
        if recognized:
            return formats[recognized[0]]
    return format_of(path, name)


def _recognizes(format: object, head: bytes) -> bool:
    return isinstance(format, RecognizesContent) and format.recognizes(head)


def _content_formats(suffix: str) -> list[str]:
    declared = formats.literals("content_suffixes").items()
    return [name for name, suffixes in declared if suffix in suffixes]


FIELDS = (
    *("text", "id", "image", "images", "aspect", "aspects", "start"),
    *("polarity", "score", "annotator", "explanation"),
)
"""Fields of a user's own rows that may have another name in the file (`ReadOptions.columns`)."""


def read_file(path: Path, format: Format, options: ReadOptions | None = None) -> ExampleStream:
    """Read every row of a file, in order.

    Args:
        path: The file.
        format: Its format.
        options: Names of columns, and the folder of media.

    Returns:
        The examples, with `Rejected` in place of each row that cannot be read.

    Raises:
        UserError: Columns are named, and the format has none that could be renamed.
    """
    from gen_msa.data.formats.labels import with_label_map

    options = options or ReadOptions()
    return with_label_map(lambda: _read_rows(path, format, options), options.label_map, path)


def _read_rows(path: Path, format: Format, options: ReadOptions) -> ExampleStream:
    if options.sep and ".csv" not in format.suffixes:
        raise UserError(f"{path} is no table of cells", hint="leave --sep out, or add --format csv")
    if isinstance(format, ReadsWithOptions):
        return format.read_with(path, options)
    if options.columns:
        name = type(format).__module__.rpartition(".")[2]
        raise UserError(
            f"the keys of {name} are fixed: no column of {path} can be mapped",
            hint="leave --map out, or convert the file to csv or jsonl",
        )
    return format.read(path)
