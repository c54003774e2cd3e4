"""Where words stand in a text, however their letters are composed or cased, and what it quotes.

Knows nothing of posts or answers. Text and words are compared after NFC and casefold, without the
zero-width spaces that break up control strings; the place found is one of the text as it is.
Quotes are the pairs “ ” " " ' ' « » „ “ 「 」 『 』.

    Spans("Die Straße ist lang").find("STRASSE")     # (4, 10)
    quotes('The word "awful" says it.')              # ['awful']
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence

NONCHARACTER = re.compile("[\ufdd0-\ufdef]")
"""Code points that no text may hold, so that prompting can mark places with them."""

MAX_PLACES = 1_000
"""Occurrences that are looked at in search of one that stands as whole words."""
MAX_CHARS = 8_000
"""Of a text that are searched for quotes."""
MAX_QUOTES = 16

QUOTED = re.compile(
    '"([^"\n]{0,300})"|“([^“”\n]{0,300})”|„([^„“”\n]{0,300})[“”]|«([^«»\n]{0,300})»'
    "|「([^「」\n]{0,300})」|『([^『』\n]{0,300})』|‘([^‘\n]{0,300}?)’(?!\\w)"
    "|(?<!\\w)'([^\n]{0,300}?)'(?!\\w)"
)
"""One quotation, marks and all; the only group that is not None holds what it quotes."""

_DROPPED = "\u200b"
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)
"""Scripts that put no blanks between words: Thai, Lao, Burmese, Khmer, kana, Han; and Hangul, which
joins particles to them."""


def quotes(text: str) -> list[str]:
    """What stands in quotation marks, in order, without repetitions and outer blanks."""
    found = QUOTED.finditer(text[:MAX_CHARS])
    said = (m.group(m.lastindex or 0).strip() for m in found)
    return list(dict.fromkeys(q for q in said if q))[:MAX_QUOTES]


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

    def whole(self, words: str) -> Iterator[tuple[int, int]]:
        """Every place where `words` stand as whole words, in order.

        Where a script puts no blanks between its words, any place is one of whole words.
        """
        wanted = fold(words)
        for at in _places(self._folded, wanted):
            span = self._span(at, at + len(wanted))
            if span and _apart(self.text, *span):
                yield span

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
    return not _joined(text, start) and not _joined(text, end)


def _apart(text: str, start: int, end: int) -> bool:
    """Like `_whole`, for scripts with and without blanks."""
    return not any(
        _joined(text, i) and not _UNSPACED.search(text, i - 1, i + 1) for i in (start, end)
    )


def _joined(text: str, i: int) -> bool:
    return 0 < i < len(text) and text[i - 1].isalnum() and text[i].isalnum()


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
