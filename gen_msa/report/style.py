"""How polarities look and how foreign text is made safe to print on a terminal.

Knows nothing of tables or pages. A mark of its own stands beside each colour, so that nothing is
said by colour alone.

    printable("tea\x1b[2J")       # 'tea�[2J': the screen is not cleared
"""

import re

from gen_msa.types import Polarity

TONE_SYMBOLS = {
    Polarity.NEGATIVE.value: "▼",
    Polarity.NEUTRAL.value: "●",
    Polarity.POSITIVE.value: "▲",
    "mixed": "◆",
    "none": "?",
}
"""A sign for each tone: the three polarities, readers that differ, and no polarity."""

TONE_STYLES = {
    Polarity.NEGATIVE.value: "red",
    Polarity.NEUTRAL.value: "cyan",
    Polarity.POSITIVE.value: "green",
}
"""Rich styles: named colours, so that the user's own terminal theme decides."""

# C0 and C1 controls (an escape sequence could rewrite the screen) and the bidirectional overrides
# (which could make a line read as something else). Zero-width joiners stay: emoji need them.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """`text` with control characters and direction overrides made visible as U+FFFD.

    Line breaks and tabs become single spaces.
    """
    return _UNSAFE.sub("\ufffd", re.sub(r"[\t\r\n]+", " ", text))


def tone_of(polarity: Polarity | None) -> str:
    """The polarity's name, or `none`."""
    return "none" if polarity is None else polarity.value


def pluralize(count: int, noun: str) -> str:
    """A count with its noun: `1 post`, `1,200 posts`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
