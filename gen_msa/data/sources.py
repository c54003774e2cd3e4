"""Open examples by path or by data set and split, and convert them to another format.

open_examples("twitter2015:dev").rows()
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gen_msa.data.base import Dataset, ExampleSource, datasets
from gen_msa.data.formats import ReadOptions, format_of, format_of_file, read_file
from gen_msa.data.formats.base import ExampleStream
from gen_msa.data.unpacking import plain_file
from gen_msa.errors import UserError, did_you_mean, user_errors
from gen_msa.jsonl import atomic_write, check_writable
from gen_msa.types import Example, Polarity, Rejected


@dataclass
class ConversionCounts:
    """Posts written and rows rejected."""

    written: int = 0
    rejected: int = 0
    rejected_file: Path | None = None
    """JSON lines of `Rejected`; None if no row was rejected."""


def convert(source: ExampleSource, target: Path, format: str | None = None) -> ConversionCounts:
    """Write the examples of `source` to `target`.

    Rejected rows go to `TARGET.rejected.jsonl`; without any, a file of an earlier run is removed.

    Args:
        source: The examples.
        target: The file to write.
        format: The name of the format; by default the suffix of `target` decides.

    Returns:
        The counts, and the file of rejected rows if there are any.

    Raises:
        UserError: The format cannot store a field of an example; then neither file is written.
    """
    check_writable(target)
    file_format = format_of(target, format)
    rejected_path = target.with_name(f"{target.name}.rejected.jsonl")
    counts = ConversionCounts()
    with ExitStack() as files:
        file_format.write(target, _accepted_rows(source, rejected_path, counts, files))
    if not counts.rejected:
        rejected_path.unlink(missing_ok=True)
    return counts


def _accepted_rows(
    source: ExampleSource, rejected_path: Path, counts: ConversionCounts, files: ExitStack
) -> Iterator[Example]:
    rejected_out = None
    for row in source.rows():
        if isinstance(row, Example):
            counts.written += 1
            yield row
            continue
        if rejected_out is None:
            rejected_out = files.enter_context(atomic_write(rejected_path))
            counts.rejected_file = rejected_path
        counts.rejected += 1
        rejected_out.write(row.model_dump_json().encode() + b"\n")


class _ConstantFile:
    """Notices that a file was appended to, cut or rewritten since its first pass began.

    Else a line that is half written would be a bad row, and two passes would read different posts.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, int, int] | None = None

    def __reduce__(self) -> tuple[type["_ConstantFile"], tuple[Path]]:
        """Begin anew in another process: another machine may have its own copy of the file."""
        return _ConstantFile, (self._path,)

    def check(self, rows: ExampleStream) -> Iterator[Example | Rejected]:
        """Yield the rows of one pass.

        Args:
            rows: They are read from the file while they are taken.

        Raises:
            UserError: The file has changed; raised before the first row, or after the last.
        """
        self._version = self._version or self._read_version()
        self._compare()
        yield from rows
        self._compare()

    def _compare(self) -> None:
        if self._read_version() != self._version:
            raise UserError(
                f"{self._path} was changed while it was read",
                hint="run the command again once nothing writes to it, or copy it first; "
                "what was answered is not asked again",
            )

    def _read_version(self) -> tuple[int, int, int]:
        with user_errors(self._path):
            stat = self._path.stat()
        return stat.st_ino, stat.st_size, stat.st_mtime_ns


DATA_ROOT_ENV_VAR = "GEN_MSA_DATA"


def open_examples(
    ref: str,
    *,
    format: str | None = None,
    media_root: Path | None = None,
    columns: Mapping[str, str] | None = None,
    label_map: Mapping[str, Polarity] | None = None,
    sep: str = "",
    encoding: str = "",
    sheet: str = "",
) -> ExampleSource:
    """Open the examples of `PATH` or `DATASET[:SPLIT]`.

    Args:
        ref: A path, also of a compressed file or a workbook; `-` for standard input; or a data set
            and split.
        format: The name of the file format, if content and suffix do not tell.
        media_root: The folder that media paths are relative to; by default the folder of the file,
            or of the data set.
        columns: Name of a field (`text`, `image`, …) -> name of its column or key in the file.
        label_map: Spelling of a gold label in the file -> what it means.
        sep: The character between the cells of a table; empty: detected.
        encoding: The encoding of a text file; empty: detected.
        sheet: The sheet of a workbook; empty: the first.

    Returns:
        A source that reads the file again for every pass.

    Raises:
        UserError: There is no such file, data set or split.
    """
    path = plain_file(ref, encoding=encoding, sheet=sheet)
    if path.exists():
        file_format = format_of_file(path, format)
        options = ReadOptions(columns or {}, media_root, label_map or {}, _delimiter(sep))
        constant = _ConstantFile(path)
        return ExampleSource(
            ref,
            media_root or path.parent,
            lambda: constant.check(read_file(path, file_format, options)),
        )
    name, _, split = ref.partition(":")
    if name not in datasets:
        suggestion = did_you_mean(name, datasets.names())
        raise UserError(f"{ref!r} is neither a file nor a dataset", hint=suggestion)
    if sep or encoding or sheet:
        hint = "leave --sep, --encoding and --sheet out"
        raise UserError(f"{name} is a dataset, whose files are known", hint=hint)
    if columns:
        raise UserError(f"{name} is a dataset, whose columns are known", hint="leave --map out")
    if label_map:
        raise UserError(
            f"{name} is a dataset, whose labels are known", hint="leave --label-map out"
        )
    return _dataset_source(datasets[name], name, split, media_root)


def _delimiter(sep: str) -> str:
    """Return the delimiter that a user names; a tab may be written out."""
    delimiter = {"\\t": "\t", "tab": "\t"}.get(sep, sep)
    if len(delimiter) > 1 or delimiter in ('"', "\n", "\r"):
        raise UserError(
            f"{sep!r} is no separator of cells", hint="one character, or tab: --sep ';'"
        )
    return delimiter


def _dataset_source(
    dataset: Dataset, name: str, split: str, media_root: Path | None
) -> ExampleSource:
    if not split and len(dataset.splits) == 1:
        split = dataset.splits[0]
    if split not in dataset.splits:
        choices = ", ".join(f"{name}:{s}" for s in dataset.splits)
        raise UserError(f"{name} has no split {split!r}", hint=f"write one of {choices}")
    root = Path() if dataset.is_packaged else data_root()
    default_root = dataset.media_root(root)
    return ExampleSource(
        f"{name}:{split}", media_root or default_root, lambda: dataset.read(root, split)
    )


def data_root() -> Path:
    """Return the folder of the environment variable `GEN_MSA_DATA`.

    Raises:
        UserError: The variable is not set, or is not a folder.
    """
    value = os.environ.get(DATA_ROOT_ENV_VAR, "")
    if not value or not Path(value).is_dir():
        raise UserError(
            f"{DATA_ROOT_ENV_VAR} {'is not set' if not value else f'is not a folder: {value}'}",
            hint=f"export {DATA_ROOT_ENV_VAR}=FOLDER (its layout is described in CONTRIBUTING.md)",
        )
    return Path(value)
