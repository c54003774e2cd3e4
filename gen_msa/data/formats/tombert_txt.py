"""Twitter-2015/2017 as the 4-line text: text with `$T$`, aspect, label (-1, 0, 1), picture.

Four lines are a record when the third is a label and the fourth a picture's name. After lines
that are not, reading goes on at the next four lines that are and whose first holds `$T$`; what
was passed over is set aside together, so a lost line never shifts the records after it. Has no
room for ids: they are made from picture and number. Knows nothing of where the files lie.

    list(formats["tombert_txt"].read(Path("dev.txt")))
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from gen_msa.data.formats._common import (
    ExampleStream,
    NumberedLine,
    check_round_trip,
    reject_row,
    unsupported_field_error,
)
from gen_msa.data.formats._twitter import (
    TARGET_MARKER,
    TwitterRow,
    explicit_id,
    join_posts,
    marked_rows,
    parse_marked_row,
)
from gen_msa.data.formats.base import formats
from gen_msa.jsonl import atomic_write, read_lines
from gen_msa.types import Example, Polarity, Rejected

_LABELS = {"-1": Polarity.NEGATIVE, "0": Polarity.NEUTRAL, "1": Polarity.POSITIVE}
_NUMBERS = {p: label for label, p in _LABELS.items()}
_IMAGE_NAME = re.compile(rb"\s*\S+\.\w{1,5}\s*")
_HINT = "four lines: text with one $T$, aspect, label -1, 0 or 1, picture"


@formats.register
class TombertTxt:
    """Reads and writes the 4-line text."""

    suffixes: tuple[str, ...] = ()
    about = "Twitter-2015/2017 4-line text: text with `$T$`, aspect, label -1/0/1, picture."

    def read(self, path: Path) -> ExampleStream:
        """Every post, in order; lines that are no record are `Rejected`."""
        return join_posts(path, _rows(path, read_lines(path)))

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Four lines an aspect. Raises `UserError` naming a field without room."""
        with atomic_write(path) as f:
            for group in check_round_trip(
                "tombert_txt",
                examples,
                _dump,
                lambda r, n: _parse_back(path, r, n),
                joins_adjacent=True,
            ):
                f.writelines(group)


def _dump(example: Example, number: int) -> list[bytes]:
    rows = list(marked_rows("tombert_txt", example))
    if explicit_id(example, number):
        raise unsupported_field_error(
            "tombert_txt", example, "post.id", "ids are made from picture and number"
        )
    return [f"{text}\n{term}\n{_NUMBERS[p]}\n{image}\n".encode() for text, term, p, image in rows]


def _parse_back(path: Path, records: list[bytes], first: int) -> ExampleStream:
    body = b"".join(records).removesuffix(b"\n").split(b"\n")
    return join_posts(path, _rows(path, enumerate(body, 1)), first)


def _rows(path: Path, items: Iterable[NumberedLine | Rejected]) -> Iterator[TwitterRow | Rejected]:
    window: deque[NumberedLine] = deque()
    skipped = _SkippedLines(path)
    for item in items:
        if isinstance(item, Rejected):
            yield item
            continue
        window.append(item)
        if len(window) < 4:
            continue
        if _is_record(window) and (not skipped.n_lines or TARGET_MARKER.encode() in window[0][1]):
            yield from skipped.flush()
            yield _row(path, list(window))
            window.clear()
        else:
            skipped.add(window.popleft())
    for item in window:
        skipped.add(item)
    yield from skipped.flush()


def _is_record(window: deque[NumberedLine]) -> bool:
    label, image = window[2][1], window[3][1]
    return label.strip() in (b"-1", b"0", b"1") and bool(_IMAGE_NAME.fullmatch(image))


class _SkippedLines:
    """Lines that belong to no record, set aside together."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._first_line: NumberedLine = (0, b"")
        self.n_lines = 0

    def add(self, line: NumberedLine) -> None:
        if not self.n_lines:
            self._first_line = line
        self.n_lines += 1

    def flush(self) -> Iterator[Rejected]:
        if self.n_lines:
            reason = f"{self.n_lines} lines that are no record of four"
            yield reject_row(self._path, self._first_line[0], reason, self._first_line[1], _HINT)
        self.n_lines = 0


def _row(path: Path, window: list[NumberedLine]) -> TwitterRow | Rejected:
    number, raw = window[0][0], b"\n".join(line for _, line in window)
    try:
        text, term, label, image = (line.decode() for _, line in window)
        return parse_marked_row(text, term, _LABELS[label.strip()], image, line=number, raw=raw)
    except ValueError as e:
        return reject_row(path, number, str(e), raw, _HINT)
