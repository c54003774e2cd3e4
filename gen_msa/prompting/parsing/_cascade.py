"""The ladder from an answer's words to what it says: slot, JSON, keyed lines, a lone label.

Knows nothing of posts. The first rung that finds a label key decides; if what stands there names
no label, or two, the answer is unread. Nothing is guessed.

    read("Sentiment: positive", prompt, slot=None).label
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gen_msa.prompting.parsing._extract import (
    KeyedLine,
    find_json_objects,
    first_line,
    parse_keyed_lines,
    role_for_key,
)
from gen_msa.prompting.parsing._labels import parse_label
from gen_msa.prompting.prompt import Prompt
from gen_msa.types import Polarity

_THINKING_START = re.compile(r"<think(?:ing)?>")
_THINKING_ENDS = ("</think>", "</thinking>")
_FENCE = re.compile(r"^[ \t]*+```[a-zA-Z]*+[ \t]*+$", re.MULTILINE)
_BLANK = re.compile('[\\s\u200b\ufeff{}\\[\\]":,`]*+\\Z')


_PAIR = re.compile(r'"([^"\\\n]{1,40})"\s{0,20}:\s{0,20}"([^"\\\n]{0,300})"')

MAX_INNER = 200


@dataclass(frozen=True)
class ParsedAnswer:
    """What was made out of an answer."""

    form: str
    """`slot`, `json`, `lines`, `bare`, or `none`."""
    label: Polarity | None = None
    explanation: str | None = None
    quotes: tuple[str, ...] = ()
    aspect: str | None = None


def is_blank(text: str) -> bool:
    """True for blanks, and for the brackets a constrained decoder opens before a blank loop."""
    return _BLANK.match(text) is not None


def has_thinking(text: str) -> bool:
    """True when `text` holds thinking, ended or not."""
    return _THINKING_START.match(text.lstrip()) is not None or any(
        c in text for c in _THINKING_ENDS
    )


def strip_thinking(text: str) -> str:
    """The answer without the thinking before it and without code fences; "" if still thinking."""
    for close in _THINKING_ENDS:
        text = text[text.rfind(close) + len(close) :] if close in text else text
    if _THINKING_START.match(text.lstrip()):
        return ""
    return _FENCE.sub("", text) if "```" in text else text


def parse_answer(text: str, prompt: Prompt, slot_label: Polarity | None) -> ParsedAnswer:
    """What `text` says of one aspect. `slot` is the label a backend's scores have settled."""
    label_words = {word: p for p, word in prompt.labels.items()}
    keyed_lines = parse_keyed_lines(text, prompt.keys)
    if slot_label is not None:
        return ParsedAnswer(
            "slot",
            slot_label,
            _first_value(keyed_lines, "explanation"),
            _evidence_quotes(keyed_lines),
        )
    json_objects, is_cut = find_json_objects(text)
    if is_cut:
        return ParsedAnswer("none")
    json_answers = [
        r
        for o in json_objects
        for d in (o, *nested_objects(o))
        if (r := answer_from_object(d, prompt, label_words))
    ]
    if json_answers:
        return _consistent_answer(json_answers, text, prompt, label_words)
    if labels := [f.value for f in keyed_lines if f.role == "label"]:
        label = only_label({parse_label(first_line(v), label_words) for v in labels})
        return ParsedAnswer(
            "lines", label, _first_value(keyed_lines, "explanation"), _evidence_quotes(keyed_lines)
        )
    return _bare_label(text, label_words, _first_value(keyed_lines, "explanation"))


def answer_from_object(
    value: Mapping[str, Any], prompt: Prompt, label_words: Mapping[str, Polarity]
) -> ParsedAnswer | None:
    """What one JSON object says; None when it has no key for the label."""
    roles = [(role_for_key(k, prompt.keys), v) for k, v in value.items()]
    labels = [v for role, v in roles if role == "label" and not isinstance(v, dict)]
    if not labels:
        return None
    value_by_role = {role: v for role, v in reversed(roles) if role}
    explanation, aspect = value_by_role.get("explanation"), value_by_role.get("aspect")
    evidence = value_by_role.get("evidence")
    return ParsedAnswer(
        form="json",
        label=only_label({_label_from_value(v, label_words) for v in labels}),
        explanation=(explanation.strip() or None) if isinstance(explanation, str) else None,
        quotes=tuple(q for q in evidence if isinstance(q, str))
        if isinstance(evidence, list)
        else (),
        aspect=aspect.strip() if isinstance(aspect, str) else None,
    )


def nested_objects(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The objects that lie directly in an object, or in a list of it."""
    candidates = (v if isinstance(v, list) else [v] for v in value.values())
    return [d for items in candidates for d in items[:MAX_INNER] if isinstance(d, dict)]


def only_label(labels: set[Polarity | None]) -> Polarity | None:
    """The only member of `labels`, or None."""
    return next(iter(labels)) if len(labels) == 1 else None


def _label_from_value(value: Any, label_words: Mapping[str, Polarity]) -> Polarity | None:
    if isinstance(value, list):
        return only_label(
            {_label_from_value(v, label_words) for v in value[:8] if not isinstance(v, list)}
        )
    if isinstance(value, bool | float) or not isinstance(value, str | int):
        return None
    return parse_label(str(value), label_words)


def _consistent_answer(
    answers: list[ParsedAnswer], text: str, prompt: Prompt, label_words: Mapping[str, Polarity]
) -> ParsedAnswer:
    """The first of several objects if all name the same label; else that there is none.

    A key given twice in one object hides from a JSON parser, so the text itself is asked as well.
    """
    pairs = (m.groups() for m in itertools.islice(_PAIR.finditer(text), 1_000))
    pair_labels = {
        parse_label(v, label_words) for k, v in pairs if role_for_key(k, prompt.keys) == "label"
    }
    if only_label({r.label for r in answers} | pair_labels) is None:
        return ParsedAnswer("json")
    return answers[0]


def _bare_label(
    text: str, label_words: Mapping[str, Polarity], explanation: str | None
) -> ParsedAnswer:
    line = first_line(text)
    label = parse_label(line, label_words)
    if label is None:
        return ParsedAnswer("none")
    remainder = text.lstrip()[len(line) :].strip()
    return ParsedAnswer("bare", label, explanation or remainder or None)


def _first_value(keyed_lines: list[KeyedLine], role: str) -> str | None:
    values = (f.value for f in keyed_lines if f.role == role)
    return next((v for v in values if v), None)


def _evidence_quotes(keyed_lines: list[KeyedLine]) -> tuple[str, ...]:
    value = _first_value(keyed_lines, "evidence")
    return () if value is None else tuple(line.strip(" -*\t\"'“”") for line in value.splitlines())
