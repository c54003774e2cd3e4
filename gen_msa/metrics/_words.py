"""Words of an explanation, by language, for the measures that compare words.

Chinese, Japanese, Thai, Lao, Khmer and Burmese are written without blanks: there every character
is a word, and a run of a-z and 0-9 is one. Elsewhere a word is a run of letters, their marks and
digits of any script. Text is lower-cased and NFC; punctuation and pictographs are no words.

    words("Un café, s'il vous plaît", "fr")     # un café s il vous plaît
    words("屏幕很好 iPhone", "zh")                # 屏 幕 很 好 iphone
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from gen_msa.metrics.base import UndefinedMetric

UNSPACED = frozenset({"zh", "ja", "th", "lo", "km", "my"})
LANGUAGE_PATTERN = "^[a-z]{2,3}$"
"""Of a language: two or three small letters (ISO 639)."""
MAX_FOREIGN_SHARE = 0.2
"""Share of letters that a language may not be able to read before it is taken to be wrong."""

_ASCII_WORD = re.compile(r"[a-z0-9]+")
_SINGLE_CHARACTER = re.compile(r"[a-z0-9]+|[^\W_]")
_UNSPACED_SCRIPT = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


@lru_cache(maxsize=1 << 15)
def tokenize(text: str, language: str) -> tuple[str, ...]:
    """The words of `text`; empty for one without letters or digits."""
    text = unicodedata.normalize("NFC", text).lower()
    if language in UNSPACED:
        return tuple(_SINGLE_CHARACTER.findall(text))
    if text.isascii():
        return tuple(_ASCII_WORD.findall(text))
    return tuple("".join(c if _is_word_character(c) else " " for c in text).split())


def check_language(references: Iterable[str], language: str) -> None:
    """Refuse references that are plainly not in `language`, for their scores would be 0.

    Raises `Undefined` when more than a fifth of their letters are of a script without blanks while
    the language has blanks, or not a-z while it is English.
    """
    letters = [c for text in references for c in text if c.isalpha()]
    if language in UNSPACED or not letters:
        return
    n_unspaced = sum(_UNSPACED_SCRIPT.match(c) is not None for c in letters)
    if n_unspaced > MAX_FOREIGN_SHARE * len(letters):
        raise UndefinedMetric(
            f"the references are written without blanks, which language={language} needs: "
            "set language=zh (or ja, th, …)"
        )
    if language == "en" and sum(not c.isascii() for c in letters) > MAX_FOREIGN_SHARE * len(letters):
        raise UndefinedMetric("the references are not in English: set language=")


def _is_word_character(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character).startswith("M")
