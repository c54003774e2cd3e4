"""Which words carry a sentiment though they are small, and which are junk.

Knows nothing of trees.

    weight("n't", "neg", DROP)      # KEPT
    weight("the", "det", DROP)      # SMALL: dropped
    weight("@joe", "nsubj", DROP)   # JUNK: dropped and never written
"""

import re
from functools import lru_cache


def word_set(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


DROPPED_RELATIONS = word_set("punct det cc expl")
"""Relations whose dependents say nothing by themselves, in both label schemes."""

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
"""Characters. What is longer is no word: a key, an address, a picture in letters."""

_EMOTICON = re.compile(r"[:;=8xX][-'^o]?[()\[\]DPpOo/\\|3*]+$|<3+$|\^_*\^$|!{2,}|\?!|!\?")
_JUNK_PATTERN = re.compile(r"https?:|www\.|pic\.twitter|t\.co/|@|&\w+;|#+$|rt$|\s|$")


def may_hold_junk(text: str, lower: list[str]) -> bool:
    """False only when no token is junk, so that most sentences need no look at each word."""
    if not (text.isascii() and text.isprintable()) or "@" in text or "#" in text or "&" in text:
        return True
    if "http" in text or "www." in text or "t.co/" in text or "pic.t" in text:
        return True
    if "  " in text or text[:1] == " " or "rt" in lower or "" in lower:
        return True
    return max(map(len, lower), default=0) > LONGEST_WORD


def word_class(word: str, rel: str, drop: frozenset[str]) -> int:
    """0: kept, 1: small (its relation is in `drop` and it carries no sentiment), 2: junk.

    `word` is in lower case.
    """
    if is_junk(word):
        return JUNK_WORD
    is_function_word = rel in drop or rel.partition(":")[0] in drop
    return FUNCTION_WORD if is_function_word and not carries_sentiment(word) else CONTENT_WORD


def is_junk(word: str) -> bool:
    """An address, a mention, a bare `#`, `RT`, a character code, blanks, or a monster."""
    return len(word) > LONGEST_WORD or _JUNK_PATTERN.match(word) is not None


@lru_cache(maxsize=4096)
def carries_sentiment(word: str) -> bool:
    """A negator, intensifier, modal, emoji, emoticon or run of `!`: kept whatever its relation."""
    if word in _SENTIMENT_WORDS:
        return True
    if not word.isascii():
        return any("\u2600" <= c <= "\u27bf" or "\U0001f000" <= c <= "\U0001faff" for c in word)
    return _EMOTICON.match(word) is not None
