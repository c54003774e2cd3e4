"""Parse an answer about one aspect: label slot, JSON, keyed lines or a bare label, in this order.

The first of these that has a label key decides. If its value names no label, or two, the answer is
unparsed; there is no fallback to a guess.

    parse_answer("Sentiment: positive", prompt, slot_label=None).label
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
"""Items of a list in an object that are parsed."""


@dataclass(frozen=True)
class ParsedAnswer:
    """The fields of an answer about one aspect."""

    form: str
    """`slot`, `json`, `lines`, `bare`, or `none`."""
    label: Polarity | None = None
    explanation: str | None = None
    quotes: tuple[str, ...] = ()
    aspect: str | None = None


def is_blank(text: str) -> bool:
    """Return whether `text` is blank but for the brackets that constrained decoding may open."""
    return _BLANK.match(text) is not None


def has_thinking(text: str) -> bool:
    """Return whether `text` contains thinking, complete or not."""
    return _THINKING_START.match(text.lstrip()) is not None or any(
        end in text for end in _THINKING_ENDS
    )


def strip_thinking(text: str) -> str:
    """Remove the thinking before an answer and its code fences; "" if it does not end."""
    for end in _THINKING_ENDS:
        text = text[text.rfind(end) + len(end) :] if end in text else text
    if _THINKING_START.match(text.lstrip()):
        return ""
    return _FENCE.sub("", text) if "```" in text else text


def parse_answer(text: str, prompt: Prompt, slot_label: Polarity | None) -> ParsedAnswer:
    """Parse what `text` says about one aspect.

    Args:
        text: The answer without thinking.
        prompt: The prompt that was answered.
        slot_label: The label that the scores of the label slot decided; None without a slot.

    Returns:
        The fields found and the form in which they were written; `none` for cut JSON or no label.
    """
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
    """Parse one JSON object; None if it has no key for the label.

    Args:
        value: The object.
        prompt: The prompt that was answered, whose keys count besides the usual ones.
        label_words: The polarity of each label word of the prompt.

    Returns:
        The fields of the object; its label is None if its values are no label or contradict.
    """
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
    """Return the objects directly in an object, or in a list directly in it."""
    candidates = (v if isinstance(v, list) else [v] for v in value.values())
    return [d for items in candidates for d in items[:MAX_INNER] if isinstance(d, dict)]


def only_label(labels: set[Polarity | None]) -> Polarity | None:
    """Return the only member of `labels`; None if there are several or none."""
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
    """Return the first of several objects if all name one label, else an answer without a label.

    A JSON parser hides a key that occurs twice in one object, so the text is searched as well.
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
