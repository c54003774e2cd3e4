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

from gen_msa.data.formats._rows import Line, Rows, checked, no_room, rejected
from gen_msa.data.formats._twitter import MARK, Row, id_of, marked_rows, posts, row_of
from gen_msa.data.formats.base import formats
from gen_msa.jsonl import lines, whole
from gen_msa.types import Example, Polarity, Rejected

_LABELS = {"-1": Polarity.NEGATIVE, "0": Polarity.NEUTRAL, "1": Polarity.POSITIVE}
_NUMBERS = {p: label for label, p in _LABELS.items()}
_PICTURE = re.compile(rb"\s*\S+\.\w{1,5}\s*")
_MEND = "four lines: text with one $T$, aspect, label -1, 0 or 1, picture"


@formats.register
class TombertTxt:
    """Reads and writes the 4-line text."""

    suffixes: tuple[str, ...] = ()
    about = "Twitter-2015/2017 4-line text: text with `$T$`, aspect, label -1/0/1, picture."

    def read(self, path: Path) -> Rows:
        """Every post, in order; lines that are no record are `Rejected`."""
        return posts(path, _rows(path, lines(path)))

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Four lines an aspect. Raises `UserError` naming a field without room."""
        with whole(path) as f:
            for group in checked(
                "tombert_txt", examples, _dump, lambda r, n: _back(path, r, n), joins=True
            ):
                f.writelines(group)


def _dump(example: Example, number: int) -> list[bytes]:
    rows = list(marked_rows("tombert_txt", example))
    if id_of(example, number):
        raise no_room("tombert_txt", example, "post.id", "ids are made from picture and number")
    return [f"{text}\n{term}\n{_NUMBERS[p]}\n{image}\n".encode() for text, term, p, image in rows]


def _back(path: Path, records: list[bytes], first: int) -> Rows:
    body = b"".join(records).removesuffix(b"\n").split(b"\n")
    return posts(path, _rows(path, enumerate(body, 1)), first)


def _rows(path: Path, found: Iterable[Line | Rejected]) -> Iterator[Row | Rejected]:
    window: deque[Line] = deque()
    passed = _Passed(path)
    for item in found:
        if isinstance(item, Rejected):
            yield item
            continue
        window.append(item)
        if len(window) < 4:
            continue
        if _is_record(window) and (not passed.lines or MARK.encode() in window[0][1]):
            yield from passed.over()
            yield _row(path, list(window))
            window.clear()
        else:
            passed.add(window.popleft())
    for item in window:
        passed.add(item)
    yield from passed.over()


def _is_record(window: deque[Line]) -> bool:
    label, picture = window[2][1], window[3][1]
    return label.strip() in (b"-1", b"0", b"1") and bool(_PICTURE.fullmatch(picture))


class _Passed:
    """Lines that belong to no record, set aside together."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._first: Line = (0, b"")
        self.lines = 0

    def add(self, line: Line) -> None:
        if not self.lines:
            self._first = line
        self.lines += 1

    def over(self) -> Iterator[Rejected]:
        if self.lines:
            reason = f"{self.lines} lines that are no record of four"
            yield rejected(self._path, self._first[0], reason, self._first[1], _MEND)
        self.lines = 0


def _row(path: Path, window: list[Line]) -> Row | Rejected:
    number, raw = window[0][0], b"\n".join(line for _, line in window)
    try:
        text, term, label, picture = (line.decode() for _, line in window)
        return row_of(text, term, _LABELS[label.strip()], picture, line=number, raw=raw)
    except ValueError as e:
        return rejected(path, number, str(e), raw, _MEND)
