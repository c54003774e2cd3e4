"""Twitter-2015/2017 as text, 4 lines per aspect: text with `$T$`, aspect, label (-1, 0, 1), image.

Four lines are a record if the third is a label and the fourth an image name. After other lines,
reading continues at the next four lines that are a record and whose first has `$T$`; the skipped
lines are rejected together, so a missing line does not shift the following records. Ids cannot be
stored: they are generated from image and number.

    list(formats["tombert_txt"].read(Path("dev.txt")))
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from gen_msa.data.formats._common import (
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
from gen_msa.data.formats.base import ExampleStream, formats
from gen_msa.jsonl import atomic_write, read_lines
from gen_msa.types import Example, Polarity, Rejected

_LABELS = {"-1": Polarity.NEGATIVE, "0": Polarity.NEUTRAL, "1": Polarity.POSITIVE}
_NUMBERS = {p: label for label, p in _LABELS.items()}
_IMAGE_NAME = re.compile(rb"\s*\S+\.\w{1,5}\s*")
_HINT = "four lines: text with one $T$, aspect, label -1, 0 or 1, image"


@formats.register
class TombertTxt:
    """Reads and writes the 4-line text."""

    suffixes: tuple[str, ...] = ()
    about = "Twitter-2015/2017 4-line text: text with `$T$`, aspect, label -1/0/1, image."

    def read(self, path: Path) -> ExampleStream:
        """Read every post, in order; lines outside a record are `Rejected`."""
        return join_posts(path, _rows(path, read_lines(path)))

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Write four lines per aspect.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: The format cannot store a field of an example.
        """
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
            "tombert_txt", example, "post.id", "ids are generated from image and number"
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
    """Lines outside a record, rejected together."""

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
            reason = f"{self.n_lines} lines that are not a record of four"
            yield reject_row(self._path, self._first_line[0], reason, self._first_line[1], _HINT)
        self.n_lines = 0


def _row(path: Path, window: list[NumberedLine]) -> TwitterRow | Rejected:
    number, raw = window[0][0], b"\n".join(line for _, line in window)
    try:
        text, term, label, image = (line.decode() for _, line in window)
        return parse_marked_row(text, term, _LABELS[label.strip()], image, line=number, raw=raw)
    except ValueError as e:
        return reject_row(path, number, str(e), raw, _HINT)
