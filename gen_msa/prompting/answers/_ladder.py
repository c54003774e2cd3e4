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

from gen_msa.prompting.answers._json import objects
from gen_msa.prompting.answers._labels import label_of
from gen_msa.prompting.answers._lines import Field, fields, first_line, role_of
from gen_msa.prompting.prompt import Prompt
from gen_msa.types import Polarity

_OPEN_THOUGHT = re.compile(r"<think(?:ing)?>")
_CLOSES = ("</think>", "</thinking>")
_FENCE = re.compile(r"^[ \t]*+```[a-zA-Z]*+[ \t]*+$", re.MULTILINE)
_NOTHING = re.compile('[\\s\u200b\ufeff{}\\[\\]":,`]*+\\Z')


_PAIR = re.compile(r'"([^"\\\n]{1,40})"\s{0,20}:\s{0,20}"([^"\\\n]{0,300})"')

MAX_INNER = 200


@dataclass(frozen=True)
class Reading:
    """What was made out of an answer."""

    form: str
    """`slot`, `json`, `lines`, `bare`, or `none`."""
    label: Polarity | None = None
    explanation: str | None = None
    quotes: tuple[str, ...] = ()
    aspect: str | None = None


def blank(text: str) -> bool:
    """True for blanks, and for the brackets a constrained decoder opens before a blank loop."""
    return _NOTHING.match(text) is not None


def thinks(text: str) -> bool:
    """True when `text` holds thinking, ended or not."""
    return _OPEN_THOUGHT.match(text.lstrip()) is not None or any(c in text for c in _CLOSES)


def answer_of(text: str) -> str:
    """The answer without the thinking before it and without code fences; "" if still thinking."""
    for close in _CLOSES:
        text = text[text.rfind(close) + len(close) :] if close in text else text
    if _OPEN_THOUGHT.match(text.lstrip()):
        return ""
    return _FENCE.sub("", text) if "```" in text else text


def read(text: str, prompt: Prompt, slot: Polarity | None) -> Reading:
    """What `text` says of one aspect. `slot` is the label a backend's scores have settled."""
    own = {word: p for p, word in prompt.labels.items()}
    said = fields(text, prompt.keys)
    if slot is not None:
        return Reading("slot", slot, _first(said, "explanation"), _listed(said))
    found, cut = objects(text)
    if cut:
        return Reading("none")
    as_json = [r for o in found for d in (o, *inner(o)) if (r := from_object(d, prompt, own))]
    if as_json:
        return _agreed(as_json, text, prompt, own)
    if labels := [f.value for f in said if f.role == "label"]:
        label = one({label_of(first_line(v), own) for v in labels})
        return Reading("lines", label, _first(said, "explanation"), _listed(said))
    return _bare(text, own, _first(said, "explanation"))


def from_object(
    value: Mapping[str, Any], prompt: Prompt, own: Mapping[str, Polarity]
) -> Reading | None:
    """What one JSON object says; None when it has no key for the label."""
    roles = [(role_of(k, prompt.keys), v) for k, v in value.items()]
    labels = [v for role, v in roles if role == "label" and not isinstance(v, dict)]
    if not labels:
        return None
    said = {role: v for role, v in reversed(roles) if role}
    explanation, aspect = said.get("explanation"), said.get("aspect")
    listed = said.get("evidence")
    return Reading(
        form="json",
        label=one({_label(v, own) for v in labels}),
        explanation=(explanation.strip() or None) if isinstance(explanation, str) else None,
        quotes=tuple(q for q in listed if isinstance(q, str)) if isinstance(listed, list) else (),
        aspect=aspect.strip() if isinstance(aspect, str) else None,
    )


def inner(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The objects that lie directly in an object, or in a list of it."""
    within = (v if isinstance(v, list) else [v] for v in value.values())
    return [d for items in within for d in items[:MAX_INNER] if isinstance(d, dict)]


def one(labels: set[Polarity | None]) -> Polarity | None:
    """The only member of `labels`, or None."""
    return next(iter(labels)) if len(labels) == 1 else None


def _label(value: Any, own: Mapping[str, Polarity]) -> Polarity | None:
    if isinstance(value, list):
        return one({_label(v, own) for v in value[:8] if not isinstance(v, list)})
    if isinstance(value, bool | float) or not isinstance(value, str | int):
        return None
    return label_of(str(value), own)


def _agreed(
    readings: list[Reading], text: str, prompt: Prompt, own: Mapping[str, Polarity]
) -> Reading:
    """The first of several objects if all name the same label; else that there is none.

    A key given twice in one object hides from a JSON parser, so the text itself is asked as well.
    """
    pairs = (m.groups() for m in itertools.islice(_PAIR.finditer(text), 1_000))
    named = {label_of(v, own) for k, v in pairs if role_of(k, prompt.keys) == "label"}
    if one({r.label for r in readings} | named) is None:
        return Reading("json")
    return readings[0]


def _bare(text: str, own: Mapping[str, Polarity], explanation: str | None) -> Reading:
    line = first_line(text)
    label = label_of(line, own)
    if label is None:
        return Reading("none")
    rest = text.lstrip()[len(line) :].strip()
    return Reading("bare", label, explanation or rest or None)


def _first(said: list[Field], role: str) -> str | None:
    values = (f.value for f in said if f.role == role)
    return next((v for v in values if v), None)


def _listed(said: list[Field]) -> tuple[str, ...]:
    value = _first(said, "evidence")
    return () if value is None else tuple(line.strip(" -*\t\"'“”") for line in value.splitlines())
