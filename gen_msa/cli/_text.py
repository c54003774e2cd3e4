"""Text for the terminal: counted nouns, durations, and plain lines.

count_noun(1, "post")        # "1 post"
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def count_noun(count: int, singular: str, plural: str = "") -> str:
    """Return `count` with the noun in the right number; `plural` defaults to `singular` + "s".

    Args:
        count: The number.
        singular: The noun for 1.
        plural: The noun for other numbers.
    """
    return f"{count:,} {singular if count == 1 else plural or f'{singular}s'}"


def format_duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours, whichever reads best."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def print_lines(console: "Console", lines: Iterable[str]) -> None:
    """Print each line as it is: no wrapping, no colours, no markup.

    Args:
        console: Where to print.
        lines: The lines.
    """
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
