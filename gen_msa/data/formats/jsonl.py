"""JSON lines: the house's own format, and rows of a user's own.

A line with the key `post` is an `Example`; any other line is read as a row of a user's own (see
`_own`), whose missing id becomes FILE_STEM-LINE. Lossless for every example whose line stays
under `gen_msa.jsonl.MAX_LINE`. Knows nothing of corpora.

    {"post": {"id": "1", "text": "good food"}, "opinions": []}
    {"text": "good food", "image": "a.jpg", "aspects": ["food"]}
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Discriminator, Tag, TypeAdapter, ValidationError

from gen_msa.data.formats._own import OwnRow
from gen_msa.data.formats._rows import Line, Rows, checked, no_room, rejected
from gen_msa.data.formats.base import formats
from gen_msa.jsonl import MAX_LINE, lines, reason_of, whole
from gen_msa.types import Example, Rejected

_BOM = b"\xef\xbb\xbf"
_MEND = "each line must be one JSON object with `post`, or with `text` and perhaps `aspects`"


def _kind(row: object) -> str:
    return "example" if isinstance(row, dict) and "post" in row else "row"


_EITHER: TypeAdapter[Example | OwnRow] = TypeAdapter(
    Annotated[
        Annotated[Example, Tag("example")] | Annotated[OwnRow, Tag("row")], Discriminator(_kind)
    ]
)


@formats.register
class Jsonl:
    """Reads and writes JSON lines."""

    suffixes: tuple[str, ...] = (".jsonl", ".ndjson")
    about = "JSON lines: one example a line, or rows of your own with `text`, `image`, `aspects`."

    def read(self, path: Path) -> Rows:
        """Every line, in order; a bad one is `Rejected`."""
        return _parse(path, lines(path))

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """One example a line. Raises `UserError` for a line that would be too long to read."""
        with whole(path) as f:
            for records in checked("jsonl", examples, _dump, lambda r, n: _back(path, r)):
                f.writelines(r + b"\n" for r in records)


def _dump(example: Example, number: int) -> list[bytes]:
    line = example.model_dump_json().encode()
    if len(line) > MAX_LINE:
        raise no_room("jsonl", example, "the length", f"{len(line)} bytes, over {MAX_LINE}")
    return [line]


def _back(path: Path, records: list[bytes]) -> Rows:
    return _parse(path, enumerate(records, 1))


def _parse(path: Path, rows: Iterable[Line | Rejected]) -> Iterator[Example | Rejected]:
    for row in rows:
        if isinstance(row, Rejected):
            yield row
            continue
        number, line = row
        yield _example(path, number, line.removeprefix(_BOM) if number == 1 else line)


def _example(path: Path, number: int, line: bytes) -> Example | Rejected:
    try:
        row = _EITHER.validate_json(line)
        return row if isinstance(row, Example) else row.example(f"{path.stem}-{number}")
    except ValidationError as e:
        return rejected(path, number, reason_of(e), line, _MEND)
