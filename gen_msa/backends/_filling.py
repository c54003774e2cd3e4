"""A value that fits a JSON schema, made from the words of a text. For `echo`.

Knows no model. Reads the part of JSON schema that pydantic writes: types, enum, const, `$ref`,
anyOf, items and their bounds. `pattern` and `format` are not honoured.

    schema = {"type": "object", "properties": {"label": {"enum": ["good", "bad"]}}}
    Filling(schema, "Battery awful", digest=b"\\x07").value()        # {"label": "good"}
"""

import re
from collections.abc import Mapping
from typing import Any, cast

from gen_msa.errors import UserError

_LOOKED_AT = 2000
"""Characters of the text that are searched for words; a post of 100 kB costs no more."""
_NAME = re.compile(r"[#@]\w{2,}|\b[^\W\d_a-z]\w+")
_LONG = re.compile(r"\w{5,}")
_QUOTE = re.compile(r"\S+(?:\s+\S+){0,4}")
_DEEPEST = 6
"""Levels; a schema that holds itself ends there."""


def names_in(text: str, most: int = 3) -> list[str]:
    """The first capitalised words and hashtags of `text`, verbatim, none twice (at most `most`).

    Short words such as "The" are passed over unless all capitals; in scripts without case every
    word counts. Where there is none, the first word of five letters stands in.
    """
    found: dict[str, None] = {}
    for match in _NAME.finditer(text[:_LOOKED_AT]):
        word = match.group()
        if len(word) > 3 or not word.isascii() or word.isupper():
            found.setdefault(word)
        if len(found) == most:
            break
    if not found and (long := _LONG.search(text[:_LOOKED_AT])):
        found.setdefault(long.group())
    return list(found)[:most]


def quote_from(text: str, where: int) -> str:
    """Up to five words of `text`, verbatim, from a place that `where` (any integer ≥ 0) picks.

    `""` when there are no words.
    """
    looked_at = text[:_LOOKED_AT].strip()
    if not looked_at:
        return ""
    start = where % len(looked_at)
    start = max(looked_at.rfind(" ", 0, start + 1) + 1, 0)
    found = _QUOTE.search(looked_at, start)
    return found.group() if found else ""


def because(text: str, where: int) -> str:
    """One sentence that quotes `text` from the place that `where` picks."""
    quote = quote_from(text, where)
    return f'The post says "{quote}".' if quote else "The post says nothing."


class Filling:
    """Fills one schema from one text; every pick comes from `digest` (at least one byte)."""

    def __init__(self, schema: Mapping[str, Any], text: str, digest: bytes) -> None:
        self._root = schema
        self._text = text
        self._digest = digest
        self._picks = 0

    def value(self) -> Any:
        """The value. Its objects name every property; its arrays hold the names in the text."""
        return self._fill(self._root, "", 0)

    def _pick(self) -> int:
        self._picks += 1
        return self._digest[self._picks % len(self._digest)] + self._picks

    def _fill(self, schema: Mapping[str, Any], word: str, depth: int) -> Any:
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][self._pick() % len(schema["enum"])]
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "object":
            return self._object(schema, word, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind in ("integer", "number"):
            return self._number(schema, whole=kind == "integer")
        if kind == "string":
            return self._string(schema, word)
        return True if kind == "boolean" else None

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        for _ in range(_DEEPEST):
            some = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
            if "$ref" in schema:
                schema = self._named(str(schema["$ref"]))
            elif some:
                schema = next((s for s in some if s.get("type") != "null"), some[0])
            else:
                break
        return schema

    def _named(self, ref: str) -> Mapping[str, Any]:
        node: Any = self._root
        for step in ref.removeprefix("#/").split("/"):
            if not isinstance(node, Mapping) or step not in node:
                raise UserError(f"the schema has no {ref!r}", mend="write it below $defs")
            node = node[step]
        return cast("Mapping[str, Any]", node)

    def _object(self, schema: Mapping[str, Any], word: str, depth: int) -> dict[str, Any]:
        """The first free string of an item takes the item's word; the others quote the text."""
        filled: dict[str, Any] = {}
        properties = schema.get("properties", {}) if depth < _DEEPEST else {}
        for name, inner in properties.items():
            filled[name] = value = self._fill(inner, word, depth + 1)
            if word and value == word:
                word = ""
        return filled

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        least = schema.get("minItems", 0)
        if depth >= _DEEPEST:
            return []
        words = names_in(self._text)[: schema.get("maxItems", 3)]
        words += [quote_from(self._text, self._pick()) for _ in range(least - len(words))]
        items = schema.get("items", {"type": "string"})
        return [self._fill(items, word, depth + 1) for word in words]

    def _string(self, schema: Mapping[str, Any], word: str) -> str:
        said = word or because(self._text, self._pick())
        said = said[: schema.get("maxLength", len(said))]
        return said.ljust(schema.get("minLength", 0), ".")

    def _number(self, schema: Mapping[str, Any], *, whole: bool) -> float:
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0 if whole else 0.0))
        high = schema.get("maximum", schema.get("exclusiveMaximum", low + 2))
        middle = (low + high) / 2
        return round(middle) if whole else float(middle)
