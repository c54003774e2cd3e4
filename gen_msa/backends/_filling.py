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

_MAX_TEXT_CHARS = 2000
"""Characters of the text that are searched for words; a post of 100 kB costs no more."""
_NAME_PATTERN = re.compile(r"[#@]\w{2,}|\b[^\W\d_a-z]\w+")
_LONG_WORD = re.compile(r"\w{5,}")
_QUOTE_PATTERN = re.compile(r"\S+(?:\s+\S+){0,4}")
_MAX_DEPTH = 6
"""Levels; a schema that holds itself ends there."""


def extract_names(text: str, max_names: int = 3) -> list[str]:
    """The first capitalised words and hashtags of `text`, verbatim, none twice (at most `most`).

    Short words such as "The" are passed over unless all capitals; in scripts without case every
    word counts. Where there is none, the first word of five letters stands in.
    """
    names: dict[str, None] = {}
    for match in _NAME_PATTERN.finditer(text[:_MAX_TEXT_CHARS]):
        word = match.group()
        if len(word) > 3 or not word.isascii() or word.isupper():
            names.setdefault(word)
        if len(names) == max_names:
            break
    if not names and (long_match := _LONG_WORD.search(text[:_MAX_TEXT_CHARS])):
        names.setdefault(long_match.group())
    return list(names)[:max_names]


def pick_quote(text: str, position: int) -> str:
    """Up to five words of `text`, verbatim, from a place that `where` (any integer ≥ 0) picks.

    `""` when there are no words.
    """
    excerpt = text[:_MAX_TEXT_CHARS].strip()
    if not excerpt:
        return ""
    start = position % len(excerpt)
    start = max(excerpt.rfind(" ", 0, start + 1) + 1, 0)
    match = _QUOTE_PATTERN.search(excerpt, start)
    return match.group() if match else ""


def quote_sentence(text: str, position: int) -> str:
    """One sentence that quotes `text` from the place that `where` picks."""
    quote = pick_quote(text, position)
    return f'The post says "{quote}".' if quote else "The post says nothing."


class SchemaFiller:
    """Fills one schema from one text; every pick comes from `digest` (at least one byte)."""

    def __init__(self, schema: Mapping[str, Any], text: str, digest: bytes) -> None:
        self._root = schema
        self._text = text
        self._digest = digest
        self._n_picks = 0

    def build(self) -> Any:
        """The value. Its objects name every property; its arrays hold the names in the text."""
        return self._fill(self._root, "", 0)

    def _next_pick(self) -> int:
        self._n_picks += 1
        return self._digest[self._n_picks % len(self._digest)] + self._n_picks

    def _fill(self, schema: Mapping[str, Any], item_name: str, depth: int) -> Any:
        schema = self._resolve_schema(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][self._next_pick() % len(schema["enum"])]
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "object":
            return self._object(schema, item_name, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind in ("integer", "number"):
            return self._number(schema, is_integer=kind == "integer")
        if kind == "string":
            return self._string(schema, item_name)
        return True if kind == "boolean" else None

    def _resolve_schema(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        for _ in range(_MAX_DEPTH):
            alternatives = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
            if "$ref" in schema:
                schema = self._resolve_ref(str(schema["$ref"]))
            elif alternatives:
                schema = next((s for s in alternatives if s.get("type") != "null"), alternatives[0])
            else:
                break
        return schema

    def _resolve_ref(self, ref: str) -> Mapping[str, Any]:
        node: Any = self._root
        for step in ref.removeprefix("#/").split("/"):
            if not isinstance(node, Mapping) or step not in node:
                raise UserError(f"the schema has no {ref!r}", hint="write it below $defs")
            node = node[step]
        return cast("Mapping[str, Any]", node)

    def _object(self, schema: Mapping[str, Any], item_name: str, depth: int) -> dict[str, Any]:
        """The first free string of an item takes the item's word; the others quote the text."""
        result: dict[str, Any] = {}
        properties = schema.get("properties", {}) if depth < _MAX_DEPTH else {}
        for name, inner in properties.items():
            result[name] = value = self._fill(inner, item_name, depth + 1)
            if item_name and value == item_name:
                item_name = ""
        return result

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        min_items = schema.get("minItems", 0)
        if depth >= _MAX_DEPTH:
            return []
        names = extract_names(self._text)[: schema.get("maxItems", 3)]
        names += [pick_quote(self._text, self._next_pick()) for _ in range(min_items - len(names))]
        items = schema.get("items", {"type": "string"})
        return [self._fill(items, item_name, depth + 1) for item_name in names]

    def _string(self, schema: Mapping[str, Any], item_name: str) -> str:
        text = item_name or quote_sentence(self._text, self._next_pick())
        text = text[: schema.get("maxLength", len(text))]
        return text.ljust(schema.get("minLength", 0), ".")

    def _number(self, schema: Mapping[str, Any], *, is_integer: bool) -> float:
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0 if is_integer else 0.0))
        high = schema.get("maximum", schema.get("exclusiveMaximum", low + 2))
        middle = (low + high) / 2
        return round(middle) if is_integer else float(middle)
