r"""How polarities look, and how text from outside is made safe for a terminal.

Each colour comes with a symbol, so that nothing depends on colour alone.

    printable("tea\x1b[2J")       # 'tea�[2J': the screen is not cleared
"""

import re
from collections.abc import Mapping

from gen_msa.types import Polarity

TONE_SYMBOLS = {
    Polarity.NEGATIVE.value: "▼",
    Polarity.NEUTRAL.value: "●",
    Polarity.POSITIVE.value: "▲",
    "mixed": "◆",
    "none": "?",
}
"""A symbol for each tone: the three polarities, differing annotators, and no polarity."""

TONE_STYLES = {
    Polarity.NEGATIVE.value: "red",
    Polarity.NEUTRAL.value: "cyan",
    Polarity.POSITIVE.value: "green",
}
"""Rich styles: named colours, so that the theme of the user's terminal applies."""

# C0 and C1 controls (an escape sequence could rewrite the screen) and the bidirectional overrides
# (which could make a line read as something else). Zero-width joiners stay: emoji need them.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Replace control characters and bidirectional overrides in `text` by U+FFFD.

    Line breaks and tabs become single spaces.
    """
    return _UNSAFE.sub("\ufffd", re.sub(r"[\t\r\n]+", " ", text))


def printable_lines(text: str) -> str:
    """Return `text` with every line made `printable`; its line breaks stay."""
    return "\n".join(map(printable, text.split("\n")))


def tone_of(polarity: Polarity | None) -> str:
    """Return the name of the polarity, or `none`."""
    return "none" if polarity is None else polarity.value


def pluralize(count: int, noun: str) -> str:
    """Return a count with its noun: `1 post`, `1,200 posts`.

    Args:
        count: The number.
        noun: The singular, whose plural ends in s.
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def unused_line(unused: Mapping[str, int]) -> str:
    """Return the last line of a job: `not used: 2 columns, 1 row`, or `not used: nothing`.

    Args:
        unused: Kind (a singular noun) -> how many of it were not used.
    """
    counts = ", ".join(pluralize(n, kind) for kind, n in sorted(unused.items()) if n)
    return f"not used: {counts or 'nothing'}"
