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
MAX_JSON_TOKENS = 20_000
"""Brackets and strings looked at; an answer has a few dozen."""

_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[{}]', re.DOTALL)
_OBJECT_START = re.compile(r"\{\s*+(?:[\"'}]|\Z)")


def find_json_objects(text: str) -> tuple[list[dict[str, Any]], bool]:
    """Every outermost JSON object of `text`, in order, and True when the last one has no end.

    What stands in braces and is not JSON is passed over.
    """
    results: list[dict[str, Any]] = []
    budget = MAX_JSON_TOKENS
    match = _OBJECT_START.search(text)
    while match and len(results) < MAX_OBJECTS and budget > 0:
        end, n_tokens = _object_end(text, match.start(), budget)
        budget -= n_tokens
        if end is None:
            return results, True
        value = _parse_json(text[match.start() : end])
        if isinstance(value, dict):
            results.append(value)
        match = _OBJECT_START.search(text, end)
    return results, False


def _object_end(text: str, at: int, budget: int) -> tuple[int | None, int]:
    """Where the object that opens at `at` ends (None: nowhere), and the tokens it took to know."""
    depth = n_tokens = 0
    for token in itertools.islice(_TOKENS.finditer(text, at), budget):
        n_tokens += 1
        depth += {"{": 1, "}": -1}.get(token.group(), 0)
        if depth == 0:
            return token.end(), n_tokens
    return None, n_tokens


def _parse_json(text: str) -> Any:
    try:
        return from_json(text)
    except ValueError:
        return None
