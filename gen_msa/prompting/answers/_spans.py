"""Where words stand in a post, however their letters are composed or cased.

Knows nothing of answers. Text and words are compared after NFC and casefold, without the
zero-width spaces that break up control strings; the place found is one of the text as it is.

    Spans("Die Straße ist lang").find("STRASSE")     # (4, 10)
"""

import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from gen_msa.prompting.sandbox import NONCHARACTER

_DROPPED = "\u200b"

MAX_PLACES = 1_000
"""Occurrences that are looked at in search of one that stands as whole words."""


def fold(text: str) -> str:
    """`text` as it is compared."""
    if text.isascii():
        return text.lower()
    return "".join(_fold(chunk) for _, chunk in _chunks(text))


class Spans:
    """A text that can be searched, and the way back from its folded form to its characters."""

    def __init__(self, text: str) -> None:
        self.text = text
        if text.isascii():
            self._folded = text.lower()
            self._at: Sequence[int] = range(len(text) + 1)
            self._folded_at: Sequence[int] = self._at
        else:
            self._folded, self._at, self._folded_at = _folded(text)

    def find(self, words: str) -> tuple[int, int] | None:
        """Start and end of `words` in the text: as whole words if they so stand, else anywhere."""
        wanted = fold(words)
        spans = (self._span(at, at + len(wanted)) for at in _places(self._folded, wanted))
        return _best(self.text, (span for span in spans if span))

    def _span(self, start: int, end: int) -> tuple[int, int] | None:
        """The characters behind a folded stretch; None when it begins or ends within one."""
        i, j = bisect_left(self._folded_at, start), bisect_left(self._folded_at, end)
        if self._folded_at[i] != start or self._folded_at[j] != end:
            return None
        first, last = self._at[i], self._at[j]
        while self.text[last - 1 : last] == _DROPPED:
            last -= 1
        return first, last


def find_exact(text: str, words: str) -> tuple[int, int] | None:
    """Like `Spans.find`, letter for letter."""
    return _best(text, ((at, at + len(words)) for at in _places(text, words)))


def _folded(text: str) -> tuple[str, list[int], list[int]]:
    """`text` as it is compared; where each piece that folds as one begins in it, and folded."""
    at: list[int] = []
    folded_at: list[int] = []
    pieces = []
    length = 0
    for start, chunk in _chunks(text):
        folded = _fold(chunk)
        if folded:
            at.append(start)
            folded_at.append(length)
            pieces.append(folded)
            length += len(folded)
    return "".join(pieces), [*at, len(text)], [*folded_at, length]


def _places(text: str, words: str) -> Iterator[int]:
    """Where `words` begin in `text`, at most `MAX_PLACES` times."""
    at = text.find(words) if words.strip() else -1
    for _ in range(MAX_PLACES):
        if at < 0:
            return
        yield at
        at = text.find(words, at + 1)


def _best(text: str, spans: Iterator[tuple[int, int]]) -> tuple[int, int] | None:
    """The first span of whole words, else the first of all."""
    inside = None
    for span in spans:
        if _whole(text, *span):
            return span
        inside = inside or span
    return inside


def _whole(text: str, start: int, end: int) -> bool:
    def joined(i: int) -> bool:
        return 0 < i < len(text) and text[i - 1].isalnum() and text[i].isalnum()

    return not joined(start) and not joined(end)


def _fold(chunk: str) -> str:
    kept = NONCHARACTER.sub("\ufffd", chunk.replace(_DROPPED, ""))
    if kept.isascii():
        return kept.lower()
    # Folding can take a composed letter apart, and composing can make one that folds.
    return _nfc(_nfc(kept).casefold())


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _chunks(text: str) -> list[tuple[int, str]]:
    """Start and characters of each piece that NFC may compose; no two pieces compose."""
    if text.isascii():
        return list(enumerate(text))
    out: list[tuple[int, str]] = []
    start = 0
    for i in range(1, len(text) + 1):
        if i == len(text) or not _joins(text, start, i):
            out.append((start, text[start:i]))
            start = i
    return out


def _joins(text: str, start: int, i: int) -> bool:
    """Whether the character at `i` may compose with the piece that begins at `start`."""
    if text[i].isascii():
        return False
    if unicodedata.combining(text[i]):
        return True
    return len(_nfc(text[start : i + 1])) <= len(_nfc(text[start:i]))
