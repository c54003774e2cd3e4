"""Find phrases in a text regardless of letter case and Unicode composition, and extract quotes.

Text and phrase are compared after NFC and casefold, without the zero-width spaces that escape
control strings; the span returned is one of the original text. Quotation marks are the pairs “ ” "
" ' ' « » „ “ 「 」 『 』.

    SearchableText("Die Straße ist lang").find("STRASSE")     # (4, 10)
    extract_quotes('The word "awful" says it.')               # ['awful']
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence

NONCHARACTER = re.compile("[\ufdd0-\ufdef]")
"""Code points that no text may contain, so that prompting can use them as markers."""

MAX_OCCURRENCES = 1_000
"""Occurrences examined in search of one that is a whole word."""
MAX_QUOTE_SEARCH_CHARS = 8_000
"""Characters of a text that are searched for quotes."""
MAX_QUOTES = 16

QUOTATION = re.compile(
    '"([^"\n]{0,300})"|“([^“”\n]{0,300})”|„([^„“”\n]{0,300})[“”]|«([^«»\n]{0,300})»'
    "|「([^「」\n]{0,300})」|『([^『』\n]{0,300})』|‘([^‘\n]{0,300}?)’(?!\\w)"
    "|(?<!\\w)'([^\n]{0,300}?)'(?!\\w)"
)
"""One quotation with its marks; the only group that is not None holds the quoted text."""

_ZERO_WIDTH_SPACE = "\u200b"
_ZERO_WIDTH_JOINER = "\u200d"
_UNSPACED_SCRIPTS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)
"""Scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana, Han; and Hangul, which
attaches particles to words.
"""


def extract_quotes(text: str) -> list[str]:
    """Return the quoted texts of `text` in order, stripped, without repetitions."""
    matches = QUOTATION.finditer(text[:MAX_QUOTE_SEARCH_CHARS])
    quoted_texts = (m.group(m.lastindex or 0).strip() for m in matches)
    return list(dict.fromkeys(q for q in quoted_texts if q))[:MAX_QUOTES]


def fold(text: str) -> str:
    """Return `text` in the form in which texts are compared."""
    if text.isascii():
        return text.lower()
    return "".join(_fold(chunk) for _, chunk in _composition_chunks(text))


class SearchableText:
    """A text to search, with the map from its folded form back to its characters."""

    def __init__(self, text: str) -> None:
        self.text = text
        if text.isascii():
            self._folded = text.lower()
            self._offsets: Sequence[int] = range(len(text) + 1)
            self._folded_offsets: Sequence[int] = self._offsets
        else:
            self._folded, self._offsets, self._folded_offsets = _fold_with_offsets(text)

    def find(self, phrase: str) -> tuple[int, int] | None:
        """Find a phrase: the first occurrence as whole words, else the first one anywhere.

        Returns:
            Start and end offsets in the text, or None.
        """
        folded_phrase = fold(phrase)
        spans = (
            self._span(offset, offset + len(folded_phrase))
            for offset in _occurrences(self._folded, folded_phrase)
        )
        return _best_span(self.text, (span for span in spans if span))

    def find_whole_words(self, phrase: str) -> Iterator[tuple[int, int]]:
        """Iterate over all occurrences of a phrase as whole words.

        In a script without spaces between words, every occurrence counts.

        Yields:
            Start and end offsets in the text, in order.
        """
        folded_phrase = fold(phrase)
        for offset in _occurrences(self._folded, folded_phrase):
            span = self._span(offset, offset + len(folded_phrase))
            if span and _is_separate_word(self.text, *span):
                yield span

    def _span(self, start: int, end: int) -> tuple[int, int] | None:
        """Map a folded range to the text; None when it begins or ends inside a character."""
        i, j = bisect_left(self._folded_offsets, start), bisect_left(self._folded_offsets, end)
        if self._folded_offsets[i] != start or self._folded_offsets[j] != end:
            return None
        first, last = self._offsets[i], self._offsets[j]
        while self.text[last - 1 : last] == _ZERO_WIDTH_SPACE:
            last -= 1
        return first, last


def locate_phrases(text: str, phrases: Sequence[str]) -> list[tuple[int, int] | None]:
    """Locate phrases in a text: each at its first mention that is not taken yet.

    A mention is a whole word in the same letters; else in other case or Unicode composition; else a
    part of a compound with a visible seam (`iPhone` in `iPhone6`, `#MyiPhone`). A mention inside a
    longer listed phrase is the last choice. A phrase inside another word (`art` in `started`) is
    no mention.

    Args:
        text: Text to search.
        phrases: Phrases, in order of mention; a repeated one is located at its next mention.

    Returns:
        For each phrase its start and end in the text, or None.
    """
    searchable = SearchableText(text)
    taken: list[tuple[int, int]] = []
    spans: list[tuple[int, int] | None] = [None] * len(phrases)
    # Longer phrases first, so that `menu` is not located inside `takeout menu`.
    for i in sorted(range(len(phrases)), key=lambda i: -len(phrases[i])):
        mentions = [m for m in _mentions(searchable, phrases[i]) if m not in taken]
        free = (m for m in mentions if not any(m[0] < b and a < m[1] for a, b in taken))
        span = next(free, mentions[0] if mentions else None)
        if span:
            taken.append(span)
        spans[i] = span
    return spans


def _mentions(searchable: SearchableText, phrase: str) -> list[tuple[int, int]]:
    """Return the mentions of the best kind that there is, in order."""
    text = searchable.text
    exact = [(i, i + len(phrase)) for i in _occurrences(text, phrase)]
    if words := [m for m in exact if _is_separate_word(text, *m)]:
        return words
    if words := list(searchable.find_whole_words(phrase)):
        return words
    return [m for m in exact if all(_is_seam(text, i) for i in m)]


def _is_seam(text: str, i: int) -> bool:
    """Return whether a word may begin or end at an offset: `iPhone|6`, `My|Phone`, `a|_b`."""
    if not _is_inside_word(text, i):
        return True
    if _splits_character(text, i):
        return False
    before, after = text[i - 1], text[i]
    return before.isdigit() != after.isdigit() or (before.islower() and after.isupper())


def _fold_with_offsets(text: str) -> tuple[str, list[int], list[int]]:
    """Return the folded text and the start of each composed piece in the text and in it."""
    offsets: list[int] = []
    folded_offsets: list[int] = []
    pieces = []
    length = 0
    for start, chunk in _composition_chunks(text):
        folded = _fold(chunk)
        if folded:
            offsets.append(start)
            folded_offsets.append(length)
            pieces.append(folded)
            length += len(folded)
    return "".join(pieces), [*offsets, len(text)], [*folded_offsets, length]


def _occurrences(text: str, phrase: str) -> Iterator[int]:
    """Yield the starts of `phrase` in `text`, at most `MAX_OCCURRENCES`."""
    offset = text.find(phrase) if phrase.strip() else -1
    for _ in range(MAX_OCCURRENCES):
        if offset < 0:
            return
        yield offset
        offset = text.find(phrase, offset + 1)


def _best_span(text: str, spans: Iterator[tuple[int, int]]) -> tuple[int, int] | None:
    """Return the first span that is a whole word, else the first of all."""
    first_span = None
    for span in spans:
        if _is_whole_word(text, *span):
            return span
        first_span = first_span or span
    return first_span


def _is_whole_word(text: str, start: int, end: int) -> bool:
    return not _is_inside_word(text, start) and not _is_inside_word(text, end)


def _is_separate_word(text: str, start: int, end: int) -> bool:
    """Return whether a span is a whole word, in scripts with and without spaces."""
    return not any(
        _splits_character(text, i)
        or (_is_inside_word(text, i) and not _UNSPACED_SCRIPTS.search(text, i - 1, i + 1))
        for i in (start, end)
    )


def _is_inside_word(text: str, i: int) -> bool:
    """Return whether neither a word nor, for `e` + accent or an emoji, a character ends there."""
    if not 0 < i < len(text):
        return False
    if text.isascii() or (text[i - 1].isascii() and text[i].isascii()):
        return text[i - 1].isalnum() and text[i].isalnum()
    base = i - 1
    while base and _extends_character(text[base]):
        base -= 1
    return _splits_character(text, i) or (text[base].isalnum() and text[i].isalnum())


def _splits_character(text: str, i: int) -> bool:
    """Return whether an offset lies inside one visible character (a grapheme cluster)."""
    if not 0 < i < len(text) or text[i].isascii():
        return False
    return _extends_character(text[i]) or text[i - 1] == _ZERO_WIDTH_JOINER


def _extends_character(char: str) -> bool:
    """Return whether a character is an accent, a vowel sign, a joiner or the tone of an emoji."""
    return not char.isascii() and (
        unicodedata.category(char).startswith("M")
        or char == _ZERO_WIDTH_JOINER
        or "\U0001f3fb" <= char <= "\U0001f3ff"
    )


def _fold(chunk: str) -> str:
    cleaned = NONCHARACTER.sub("\ufffd", chunk.replace(_ZERO_WIDTH_SPACE, ""))
    if cleaned.isascii():
        return cleaned.lower()
    # Folding can take a composed letter apart, and composing can make one that folds.
    return _nfc(_nfc(cleaned).casefold())


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _composition_chunks(text: str) -> list[tuple[int, str]]:
    """Return start and characters of each piece that NFC may compose; no two pieces compose."""
    if text.isascii():
        return list(enumerate(text))
    out: list[tuple[int, str]] = []
    start = 0
    for i in range(1, len(text) + 1):
        if i == len(text) or not _composes_with(text, start, i):
            out.append((start, text[start:i]))
            start = i
    return out


def _composes_with(text: str, start: int, i: int) -> bool:
    """Return whether the character at `i` may compose with the piece that begins at `start`."""
    if text[i].isascii():
        return False
    if unicodedata.combining(text[i]):
        return True
    return len(_nfc(text[start : i + 1])) <= len(_nfc(text[start:i]))
