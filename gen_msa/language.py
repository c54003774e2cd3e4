"""Detect the language of a post with py3langid, which ships its model; "unknown" is an answer.

Handles, hashtags, addresses and emoji do not count. Few words, or words of two languages, are
`unknown`: a post must not lose its parser over a guess.

    detect_language("El servicio fue horrible, no vuelvo")      # 'es'
    detect_language("pizza")                                    # 'unknown'
"""

import re
import unicodedata
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Annotated, Any

from pydantic import AfterValidator

from gen_msa.errors import UserError

ENGLISH = "en"
UNKNOWN = "unknown"
AUTO = "auto"

DETECTED_LANGUAGES = (
    "af ar az be bg bn bs ca cs cy da de el en es et eu fa fi fr ga gl gu he hi hr hu hy id is it"
    " ja ka kk km kn ko lo lt lv mk ml mn mr ms my ne nl no pa pl pt ro ru si sk sl so sq sr sv sw"
    " ta te th tl tr uk ur uz vi zh"
)
"""ISO 639-1 codes of the languages that are distinguished.

Dialects and languages in which few posts are written are left out: among them, short posts in the
frequent ones would be ambiguous.
"""
MIN_PROBABILITY = 0.8
"""Below it a language is unknown. No English sentence of SemEval-2014 or MELD (4,500) and no tweet
in English of Twitter-2015 (2,100) reaches it in another language.
"""
MAX_CHARS = 2_000
"""Characters that are looked at."""

_NOT_LANGUAGE = re.compile(
    r"(?:https?://|www\.)\S+|(?<!\S)[^\s@]++@[^\s.]++\.\S+|[@#]\s?\w+|\bRT\b|<[^<>\s]{0,40}>"
)
_ENGLISH_WORDS = frozenset(
    "the and with this that they you your are it its to for my not have his her".split()  # noqa: SIM905
)
_MIN_ENGLISH_WORDS = 2
"""English function words that make a post of another language a mixed one."""
_LATIN_END = 0x24F
_CODE = re.compile(r"[a-z]{2,3}")


def _check_setting(value: str) -> str:
    if value != AUTO and not _CODE.fullmatch(value):
        raise ValueError(f"{value!r} is no language: write auto, or an ISO 639 code such as en")
    return value


LanguageSetting = Annotated[str, AfterValidator(_check_setting)]
"""`auto`, or the ISO 639 code of the language of all posts."""


def resolve_language(setting: str, text: str) -> str:
    """Return the language of a text: the given one, else the detected one.

    Args:
        setting: `auto`, or a code.
        text: The text.

    Returns:
        An ISO 639 code, or `unknown`.
    """
    # Cut here, because the cache holds the texts that it has seen.
    return detect_language(text[:MAX_CHARS]) if setting == AUTO else setting


@lru_cache(maxsize=8_192)
def detect_language(text: str) -> str:
    """Return the ISO 639-1 code of the language of a text, or `unknown`.

    The same text always gets the same answer. It takes about 0.1 ms; the first call in a process
    loads the model, which takes about a second.

    Args:
        text: The text of a post.

    Raises:
        UserError: The model cannot be unpacked.
    """
    words = _letters(text[:MAX_CHARS])
    if sum(map(len, words)) < 2:
        return UNKNOWN
    language, probability = _identifier().classify(" ".join(words))
    if probability < MIN_PROBABILITY:
        return UNKNOWN
    if language != ENGLISH and len(_ENGLISH_WORDS.intersection(w.lower() for w in words)) >= (
        _MIN_ENGLISH_WORDS
    ):
        return UNKNOWN
    return str(language)


def may_be_english(language: str, text: str) -> bool:
    """Return whether a text may be parsed as English: it is, or it is unknown and in Latin letters.

    Args:
        language: Its language.
        text: The text.
    """
    if language != UNKNOWN:
        return language == ENGLISH
    letters = [c for c in text[:MAX_CHARS] if c.isalpha()]
    return 2 * sum(ord(c) <= _LATIN_END for c in letters) >= len(letters)


def detector_version() -> str:
    """Return `py3langid 0.4.0`, from the package's metadata."""
    return f"py3langid {version('py3langid')}"


def _letters(text: str) -> list[str]:
    """Return the words of a text without handles, hashtags, addresses, digits and symbols."""
    characters = (
        c if c.isalpha() or c in "'’" or unicodedata.category(c).startswith("M") else " "
        for c in _NOT_LANGUAGE.sub(" ", text)
    )
    return "".join(characters).split()


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    try:
        identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    except OSError as e:  # it unpacks its model into a temporary file
        raise UserError(
            f"the model that detects languages cannot be unpacked: {e.strerror}",
            hint="free space in the folder for temporary files or set TMPDIR; language=en, or "
            "another code, detects none",
        ) from e
    identifier.set_languages(DETECTED_LANGUAGES.split())
    return identifier
