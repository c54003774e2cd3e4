"""JSON in an answer: whole, fenced, or after some prose; and whether it was cut.

Knows nothing of keys or labels. Linear in the length of the text, bounded in what it will look at,
and no input makes it raise.

    found, cut = objects('Sure: {"sentiment": "positive"}')
"""

import itertools
import re
from typing import Any

from pydantic_core import from_json

MAX_OBJECTS = 64
MAX_TOKENS = 20_000
"""Brackets and strings looked at; an answer has a few dozen."""

_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[{}]', re.DOTALL)
_OPENS = re.compile(r"\{\s*+(?:[\"'}]|\Z)")


def objects(text: str) -> tuple[list[dict[str, Any]], bool]:
    """Every outermost JSON object of `text`, in order, and True when the last one has no end.

    What stands in braces and is not JSON is passed over.
    """
    found: list[dict[str, Any]] = []
    budget = MAX_TOKENS
    opens = _OPENS.search(text)
    while opens and len(found) < MAX_OBJECTS and budget > 0:
        end, used = _end(text, opens.start(), budget)
        budget -= used
        if end is None:
            return found, True
        value = _parsed(text[opens.start() : end])
        if isinstance(value, dict):
            found.append(value)
        opens = _OPENS.search(text, end)
    return found, False


def _end(text: str, at: int, budget: int) -> tuple[int | None, int]:
    """Where the object that opens at `at` ends (None: nowhere), and the tokens it took to know."""
    depth = used = 0
    for token in itertools.islice(_TOKENS.finditer(text, at), budget):
        used += 1
        depth += {"{": 1, "}": -1}.get(token.group(), 0)
        if depth == 0:
            return token.end(), used
    return None, used


def _parsed(text: str) -> Any:
    try:
        return from_json(text)
    except ValueError:
        return None
