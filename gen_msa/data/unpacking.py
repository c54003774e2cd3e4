"""Turn what holds a text file into that file: compressed files, workbooks, standard input.

Formats read plain UTF-8 files. What is compressed, a workbook, from standard input, in a named
encoding or with old line ends is copied once to a temporary file, which has the name of the
original in messages and ids.

    plain_file("posts.csv.gz")          # a `Path` that shows as posts.csv, read from a copy
"""

import bz2
import csv
import datetime
import gzip
import io
import lzma
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from gen_msa.errors import MissingExtra, UserError, user_errors
from gen_msa.formula_guard import OWN_AUTHOR, escape_formula

STANDARD_INPUT = "-"
MAX_RATIO = 1_000
"""How many times its own size a compressed file may unpack to, above `_FREE_BYTES`."""
_FREE_BYTES = 1 << 30
MAX_CELLS = 200_000_000
"""Cells of a workbook's sheet."""
_CHUNK = 1 << 20
_GZIP, _BZ2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"
_PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst")
UNPACKED_SUFFIXES = (*_PACKED_SUFFIXES, ".xlsx", ".xlsm")
_OTHER_CONTENTS = {
    b"%PDF": "a PDF",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file: save it as .xlsx",
    b"PK\x03\x04": "a ZIP archive: unpack it, and name a file of it",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"SQLite format 3": "a database",
    b"<!DOCTYPE html": "a web page, perhaps one to log in",
    b"<html": "a web page, perhaps one to log in",
}
"""How files begin that are named like a table and are none."""
_TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".txt")


class LocalCopy(type(Path())):  # type: ignore[misc]
    """A path that shows the name of an original, and opens a temporary copy of it."""

    _copy: str = ""

    def __fspath__(self) -> str:
        """Return what is opened."""
        return self._copy or str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the copy in another process of this machine."""
        return _local_copy, (str(self), self._copy)


def _local_copy(name: str, copy: str) -> Path:
    path = LocalCopy(name)
    path._copy = copy
    return path


def plain_file(name: str, *, encoding: str = "", sheet: str = "") -> Path:
    """Return a plain file to read instead of the one that the user names.

    Args:
        name: A path, or `-` for standard input.
        encoding: The encoding of its text; empty: detected while it is read.
        sheet: The sheet of a workbook; empty: the first one.

    Returns:
        The file itself, or a copy that is removed when it is no longer used.

    Raises:
        UserError: The file cannot be unpacked, or is something else than it is named; or `sheet` is
            given for a file without sheets.
        MissingExtra: A package that unpacks it is not installed.
    """
    path = _spooled_input() if name == STANDARD_INPUT else Path(name)
    if not path.is_file():
        return path
    with user_errors(path):
        path = _unpacked(path)
        head = _head(path)
        if _is_workbook(path, head):
            return _sheet_as_csv(path, sheet)
        if sheet:
            raise UserError(f"{path} is no workbook", hint="leave --sheet out")
        _check_content(path, head)
        if encoding:
            return _copied(path, lambda out: _recode(path, encoding, out))
        if b"\r" in head and b"\n" not in head and path.suffix.lower() in _TABLE_SUFFIXES:
            return _copied(path, lambda out: _with_newlines(path, out))
    return path


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1 << 16)


def _copied(path: Path, write: Callable[[IO[bytes]], None], name: str = "") -> Path:
    """Return a copy whose content `write` writes; it goes when the path is no longer used."""
    folder = tempfile.mkdtemp(prefix="gen-msa-")
    named = path.with_name(name or path.name)
    copy = Path(folder) / named.name
    local_copy = _local_copy(str(named), str(copy))
    weakref.finalize(local_copy, shutil.rmtree, folder, ignore_errors=True)
    with copy.open("wb") as out:
        write(out)
    return local_copy


def _spooled_input() -> Path:
    """Return a copy of standard input, whose suffix follows from its first bytes."""
    stream = sys.stdin.buffer
    head = stream.read(_CHUNK)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    suffix = {b"{": ".jsonl", b"[": ".json", b"<": ".xml"}.get(start, ".csv")

    def write(out: IO[bytes]) -> None:
        out.write(head)
        shutil.copyfileobj(stream, out, _CHUNK)

    return _copied(Path(f"stdin{suffix}"), write)


def _unpacked(path: Path) -> Path:
    """Return the unpacked copy of a compressed file, any other file as it is."""
    with path.open("rb") as file:
        head = file.read(8)
    name = path.stem if path.suffix.lower() in _PACKED_SUFFIXES else path.name

    def write(out: IO[bytes]) -> None:
        limit = max(_FREE_BYTES, MAX_RATIO * path.stat().st_size)
        with user_errors(path, "cannot be unpacked", hint="download it again"):
            written = 0
            for chunk in _unpacked_chunks(path, head):
                written += len(chunk)
                if written > limit:
                    raise UserError(
                        f"{path} unpacks to over {MAX_RATIO:,} times its size",
                        hint="unpack it yourself if you trust it",
                    )
                out.write(chunk)

    is_packed = head.startswith((_GZIP, _BZ2, _XZ, _ZSTD))
    return _copied(path, write, name) if is_packed else path


def _unpacked_chunks(path: Path, head: bytes) -> Iterator[bytes]:
    if head.startswith(_ZSTD):
        yield from _zstd_chunks(path)
        return
    openers: dict[bytes, Any] = {_GZIP: gzip.open, _BZ2: bz2.open, _XZ: lzma.open}
    opener = next(opener for mark, opener in openers.items() if head.startswith(mark))
    with opener(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _zstd_chunks(path: Path) -> Iterator[bytes]:
    try:
        import zstandard
    except ModuleNotFoundError:
        raise MissingExtra("zstandard", "files") from None
    # Dumps of Reddit have windows of 2 GiB, which is what their readers allow.
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    frame = decompressor.decompressobj()
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            while data:
                if frame.eof:
                    frame = decompressor.decompressobj()
                yield frame.decompress(data)
                data = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise EOFError("it ends before its end marker")


def _check_content(path: Path, head: bytes) -> None:
    if path.suffix.lower() not in _TABLE_SUFFIXES:
        return
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for mark, what in _OTHER_CONTENTS.items():
        if start[: len(mark)].lower() == mark.lower():
            raise UserError(f"{path} is {what}", hint="name the file that holds the posts")
    if start.startswith(b"PAR1"):
        raise UserError(f"{path} is a Parquet file", hint="add --format parquet")


def _recode(path: Path, encoding: str, out: IO[bytes]) -> None:
    try:
        with path.open(encoding=encoding, newline="") as text:
            while chunk := text.read(_CHUNK):
                out.write(chunk.removeprefix("\ufeff").encode())
    except LookupError:
        hint = "e.g. --encoding cp1252, utf-16, gb18030, shift_jis"
        raise UserError(f"there is no encoding {encoding!r}", hint=hint) from None
    except UnicodeError as e:
        hint = "name another --encoding, or none to have it detected"
        raise UserError(f"{path} is not {encoding}: {e}", hint=hint) from None


def _with_newlines(path: Path, out: IO[bytes]) -> None:
    """Copy a file whose lines end in a carriage return alone, as on old Macintoshes."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            out.write(chunk.replace(b"\r", b"\n"))


def _is_workbook(path: Path, head: bytes) -> bool:
    is_archive = head.startswith(b"PK\x03\x04")
    if path.suffix.lower() in (".xlsx", ".xlsm") and not is_archive:
        old = "; it is an old Excel file" if head.startswith(b"\xd0\xcf\x11\xe0") else ""
        raise UserError(f"{path} is no .xlsx workbook{old}", hint="save it as .xlsx or .csv")
    return is_archive and (b"xl/" in head or path.suffix.lower() in (".xlsx", ".xlsm"))


def _sheet_as_csv(path: Path, sheet: str) -> Path:
    try:
        import openpyxl
    except ModuleNotFoundError:
        raise MissingExtra("openpyxl", "files") from None
    hint = "open it in a spreadsheet program, and save it again as .xlsx or .csv"
    with user_errors(path, "cannot be read as a workbook", hint=hint), path.open("rb") as file:
        _check_archive(path, file)
        # Formulas have the values that the program which wrote the file computed.
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        names = book.sheetnames
        if sheet and sheet not in names:
            raise UserError(f"{path} has no sheet {sheet!r}", hint=f"its sheets: {names}")
        chosen = book[sheet or names[0]]
        # In a table of ours, texts have no guard against formulas, as its CSV file has.
        guard = escape_formula if book.properties.creator == OWN_AUTHOR else str
        return _copied(path, lambda out: _write_rows(path, chosen, out, guard), f"{path.stem}.csv")


def _check_archive(path: Path, file: IO[bytes]) -> None:
    import zipfile

    size = sum(entry.file_size for entry in zipfile.ZipFile(file).infolist())
    file.seek(0)
    if size > max(_FREE_BYTES, MAX_RATIO * path.stat().st_size):
        raise UserError(f"{path} unpacks to {size:,} bytes", hint="save it as .csv if you trust it")


def _write_rows(path: Path, sheet: Any, out: IO[bytes], guard: Callable[[str], str]) -> None:
    text = io.TextIOWrapper(out, "utf-8", errors="surrogatepass", newline="")
    writer = csv.writer(text)
    n_cells = 0
    for row in _rows_without_margin(sheet.iter_rows(values_only=True)):
        n_cells += len(row)
        if n_cells > MAX_CELLS:
            raise UserError(f"{path} has over {MAX_CELLS:,} cells", hint="save it as .csv")
        writer.writerow(map(guard, row))
    text.flush()
    text.detach()


def _rows_without_margin(rows: Iterator[Sequence[Any]]) -> Iterator[list[str]]:
    """Yield rows as text, without empty ones and without empty columns at the end of the header."""
    width = 0
    for row in rows:
        cells = [_cell_text(value) for value in row]
        while len(cells) > width and not cells[-1]:
            cells.pop()
        if any(cells):
            width = width or len(cells)
            yield cells + [""] * (width - len(cells))


def _cell_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return str(int(value))  # a workbook knows no whole numbers
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value)
