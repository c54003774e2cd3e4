"""Open text files of any common encoding as UTF-8, and say which encoding was found.

UTF-16 is known by its mark or its zero bytes, Windows-1252 by bytes that are no UTF-8 and are
accented letters or typographic marks there. A file with some valid UTF-8 beyond ASCII is UTF-8; its
bad rows are rejected one by one.

    with open_as_utf8(Path("posts.csv")) as file: ...
"""

import codecs
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gen_msa.errors import InputWarning, UserError

_CHUNK = 1 << 16
_UTF16_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_WINDOWS_1252 = re.compile(
    "[À-ÏÑ-ÖØ-ÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýŒœŠšŽžŸ‘’“”„‚–—…•€£©®°«»¿¡ªº·´ ]"
)
"""What Western text has beyond ASCII; letters that only Icelandic has are more often noise."""


def detect_encoding(path: Path) -> str:
    """Return `utf-8`, `utf-16`, `utf-16-le`, `utf-16-be` or `cp1252`."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    n_bad = 0
    with path.open("rb") as file:
        head = file.read(4096)
        for mark, name in _UTF16_MARKS.items():
            if head.startswith(mark) and len(head) > 2 and b"\0" in head:
                return name
        even, odd = head[0::2].count(0), head[1::2].count(0)
        if max(even, odd) > 0.4 * len(head) and min(even, odd) < 0.05 * len(head):
            return "utf-16-be" if even > odd else "utf-16-le"
        file.seek(0)
        while chunk := file.read(_CHUNK):
            try:
                if not decoder.decode(chunk).isascii():
                    return "utf-8"
            except UnicodeDecodeError:
                n_bad += 1
                break
        if not n_bad:
            return "utf-8"
        file.seek(0)
        while chunk := file.read(_CHUNK):
            beyond_ascii = bytes(b for b in chunk if b > 127)
            try:
                letters = beyond_ascii.decode("cp1252")
            except UnicodeDecodeError:
                return "utf-8"
            if not all(map(_WINDOWS_1252.match, letters)):
                return "utf-8"
    return "cp1252"


@contextmanager
def open_as_utf8(path: Path) -> Iterator[IO[bytes]]:
    """Open a text file for reading as UTF-8 bytes.

    Args:
        path: The file. An encoding other than UTF-8 is announced by an `InputWarning`.

    Raises:
        UserError: The file is not text in the encoding that its first bytes announce.
    """
    encoding = detect_encoding(path)
    if encoding == "utf-8":
        with path.open("rb") as file:
            yield file
        return
    name = "Windows-1252" if encoding == "cp1252" else "UTF-16"
    warnings.warn(f"{path} is read as {name}", InputWarning, stacklevel=2)
    with tempfile.TemporaryFile() as copy:
        try:
            with path.open(encoding=encoding, newline="") as text:
                while chunk := text.read(_CHUNK):
                    copy.write(chunk.removeprefix("\ufeff").encode())
        except UnicodeError as e:
            raise UserError(f"{path} is not {name}: {e}", hint="save the file as UTF-8") from None
        copy.seek(0)
        yield copy
