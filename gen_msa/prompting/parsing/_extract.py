"""Extract structure from an answer: JSON objects, and keyed lines in any case and markup.

Keys are the prompt's own and the usual ones of models (`ALIASES`); markdown, bullets and quotes
around a key do not matter.

    parse_keyed_lines('Sentiment: positive\\nExplanation: it is "great"', {"label": "Sentiment"})
"""

import functools
import itertools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic_core import from_json

MAX_OBJECTS = 64
MAX_JSON_TOKENS = 20_000
"""Brackets and strings scanned; a usual answer has a few dozen."""

_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[{}]', re.DOTALL)
_OBJECT_START = re.compile(r"\{\s*+(?:[\"'}]|\Z)")


def find_json_objects(text: str) -> tuple[list[dict[str, Any]], bool]:
    """Return every outermost JSON object of `text`, in order, and whether the last is incomplete.

    Text in braces that is not JSON is skipped.
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
    """Return where the object that starts at `at` ends (None: nowhere), and the tokens scanned."""
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


ALIASES = {
    "label": ("sentiment", "polarity", "label", "answer", "class", "情感", "情感极性", "情感倾向"),
    "explanation": ("explanation", "reason", "rationale", "justification", "解释", "理由", "原因"),
    "evidence": ("evidence", "quotes", "quote", "证据"),
    "aspect": ("aspect", "target", "term", "方面"),
    "aspects": ("aspects", "opinions"),
}
"""Keys accepted for each role besides the prompt's own key, in lower case."""

_KEY_DECORATION = r"[ \t>*#_\-•–+.)(\"'`{\[0-9]*+"
_KEY_SUFFIX = r"(?:[ \t]++(?:towards?|of|for|about|on)\b[^:：\n]{0,80}|[ \t]*+\([^)\n]{0,80}\))?"
_SEPARATOR = r"[*_\"'` \t]*+(?:[:：=]|(?<=[ \t])[-–—](?=[ \t]))[*_]*+"

MAX_FIELDS = 500
MAX_INLINE_CHARS = 400
"""Characters after a label in which an explanation may begin on the same line."""


class KeyedLine(NamedTuple):
    """A key's role and the text up to the next key."""

    role: str
    value: str


def parse_keyed_lines(text: str, keys: Mapping[str, str]) -> list[KeyedLine]:
    """Return the keyed lines of `text`, in order; none if there are more than `MAX_FIELDS`.

    Args:
        text: The answer.
        keys: The prompt's key names by role.
    """
    pattern, inline = _patterns(tuple(sorted(keys.items())))
    matches = list(itertools.islice(pattern.finditer(text), MAX_FIELDS + 1))
    if len(matches) > MAX_FIELDS:  # the model repeats itself
        return []
    keyed_lines: list[KeyedLine] = []
    for match, following in itertools.zip_longest(matches, matches[1:]):
        role = next(r for r, matched_text in match.groupdict().items() if matched_text)
        value = text[match.end() : following.start() if following else None].strip()
        inline_match = inline.search(value, 0, MAX_INLINE_CHARS) if role == "label" else None
        if inline_match:  # both on one line: "Sentiment: positive. Explanation: …"
            keyed_lines.append(KeyedLine("label", value[: inline_match.start()]))
            role, value = "explanation", value[inline_match.end() :].strip()
        keyed_lines.append(KeyedLine(role, value))
    return keyed_lines


def role_for_key(key: str, keys: Mapping[str, str]) -> str | None:
    """Return the role of a JSON key (`label`, `explanation`, …); None for an unknown key.

    Args:
        key: The key as the answer has it.
        keys: The prompt's key names by role.
    """
    name = key.strip().casefold()
    prompt_roles = {k.casefold(): role for role, k in keys.items()}
    alias_roles = {alias: role for role, aliases in ALIASES.items() for alias in aliases}
    return prompt_roles.get(name) or alias_roles.get(name)


def first_line(text: str) -> str:
    """Return the first line that is not blank."""
    return text.lstrip().partition("\n")[0]


@functools.lru_cache(maxsize=64)
def _patterns(keys: tuple[tuple[str, str], ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    prompt_keys = dict(keys)
    any_of = {
        role: "|".join(
            re.escape(n)
            for n in sorted({prompt_keys.get(role, "").lower(), *names} - {""}, key=len)[::-1]
        )
        for role, names in ALIASES.items()
    }
    role_patterns = [
        f"(?P<{role}>{any_of[role]})" for role in ALIASES if role not in ("label", "aspects")
    ]
    label = f"(?:final |overall )?(?P<label>{any_of['label']})(?: label| polarity)?{_KEY_SUFFIX}"
    line = rf"^{_KEY_DECORATION}(?:{label}|{'|'.join(role_patterns)}){_SEPARATOR}"
    inline_pattern = rf"(?<=[\s.;,|]){_KEY_DECORATION}(?:{any_of['explanation']}){_SEPARATOR}"
    return re.compile(line, re.IGNORECASE | re.MULTILINE), re.compile(inline_pattern, re.IGNORECASE)
