"""Small words that carry sentiment, and tokens that are junk.

word_class("n't", "neg", DROPPED_RELATIONS)      # CONTENT_WORD: kept
word_class("the", "det", DROPPED_RELATIONS)      # FUNCTION_WORD: dropped
word_class("@joe", "nsubj", DROPPED_RELATIONS)   # JUNK_WORD: dropped and never written
"""

import re
from functools import lru_cache


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


DROPPED_RELATIONS = word_set("punct det cc expl")
"""Relations whose dependents have no meaning by themselves, in both label schemes."""

NEGATORS = word_set(
    "not n't n’t nt never no none nothing nobody nowhere neither nor without hardly barely scarcely"
    " rarely seldom cannot ain't aint"
)
INTENSIFIERS = word_set(
    "very really so too quite extremely absolutely totally completely incredibly highly pretty"
    " rather fairly super most more less least even only just such much far way almost always"
)
MODALS = word_set(
    "would could should might may must can will wo ca need ought wouldn't couldn't shouldn't"
)
_SENTIMENT_WORDS = NEGATORS | INTENSIFIERS | MODALS

CONTENT_WORD, FUNCTION_WORD, JUNK_WORD = 0, 1, 2

LONGEST_WORD = 40
"""Characters of a word; longer tokens are keys, URLs or ASCII art."""

_EMOTICON = re.compile(r"[:;=8xX][-'^o]?[()\[\]DPpOo/\\|3*]+$|<3+$|\^_*\^$|!{2,}|\?!|!\?")
_JUNK_PATTERN = re.compile(r"https?:|www\.|pic\.twitter|t\.co/|@|&\w+;|#+$|rt$|\s|$")


def may_hold_junk(text: str, lower: list[str]) -> bool:
    """Return False only if no token is junk, which saves checking each word of most sentences.

    Args:
        text: The text.
        lower: Its tokens in lower case.
    """
    if not (text.isascii() and text.isprintable()) or "@" in text or "#" in text or "&" in text:
        return True
    if "http" in text or "www." in text or "t.co/" in text or "pic.t" in text:
        return True
    if "  " in text or text[:1] == " " or "rt" in lower or "" in lower:
        return True
    return max(map(len, lower), default=0) > LONGEST_WORD


def word_class(word: str, rel: str, drop: frozenset[str]) -> int:
    """Return `CONTENT_WORD`, `FUNCTION_WORD` or `JUNK_WORD`.

    Args:
        word: The token in lower case.
        rel: Its dependency relation.
        drop: Relations of function words; a word that carries sentiment is no function word.
    """
    if is_junk(word):
        return JUNK_WORD
    is_function_word = rel in drop or rel.partition(":")[0] in drop
    return FUNCTION_WORD if is_function_word and not carries_sentiment(word) else CONTENT_WORD


def is_junk(word: str) -> bool:
    """Return whether a token is a URL, mention, bare `#`, `RT`, entity, blank, or overlong."""
    return len(word) > LONGEST_WORD or _JUNK_PATTERN.match(word) is not None


@lru_cache(maxsize=4096)
def carries_sentiment(word: str) -> bool:
    """Return whether a word is a negator, intensifier, modal, emoji, emoticon or run of `!`."""
    if word in _SENTIMENT_WORDS:
        return True
    if not word.isascii():
        return any("\u2600" <= c <= "\u27bf" or "\U0001f000" <= c <= "\U0001faff" for c in word)
    return _EMOTICON.match(word) is not None
