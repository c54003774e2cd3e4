"""Parse an answer about one aspect: label slot, JSON, keyed lines or a bare label, in this order.

The first of these that has a label key decides. If its value names no label, or two, the answer is
unparsed; there is no fallback to a guess.

    parse_answer("Sentiment: positive", prompt, slot_label=None).label
"""

import functools
import itertools
import re
import unicodedata
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic_core import from_json

from gen_msa.prompting.prompt import Prompt
from gen_msa.types import Polarity

# Extract structure from an answer: JSON objects, and keyed lines in any case and markup.

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


# Parse the polarity that a short text names, from an explicit table of words in many languages.

_LABEL_WORDS = {
    Polarity.NEGATIVE: """negative neg -1 negativ negative negativer negatives negativo negativa
        négatif négative negatif negatief negatieve negatywny negatywna негативный негативная
        негативное отрицательный отрицательная отрицательное سلبي سلبية السلبي olumsuz
        नकारात्मक 负面 负向 负 消极 贬义 負面 負向 負 消極 ネガティブ 否定的 부정 부정적 tiêu_cực""",
    Polarity.NEUTRAL: """neutral neu neut neutrale neutraler neutrales neutro neutra neutre neutraal
        neutralny neutralna нейтральный нейтральная нейтральное محايد محايدة المحايد nötr
        तटस्थ 中性 中立 ニュートラル 중립 중립적 trung_lập""",
    Polarity.POSITIVE: """positive pos +1 positiv positiver positives positivo positiva positif
        positief positieve pozytywny pozytywna позитивный позитивная позитивное положительный
        положительная положительное إيجابي ايجابي إيجابية ايجابية الإيجابي olumlu
        सकारात्मक 正面 正向 正 积极 褒义 積極 ポジティブ 肯定的 긍정 긍정적 tích_cực""",
}
_FILLER_TEXT = """very slightly mostly strongly somewhat clearly quite overall rather weakly mildly
    highly extremely generally largely mainly really definitely the a is it sentiment polarity label
    tone answer muy très sehr"""
_FILLERS = frozenset(_FILLER_TEXT.split())

_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_SYMBOLS = re.compile("[\u2190-\u21ff\u2300-\u2bff\ufe0f\u200b-\u200f\U0001f000-\U0001faff]")
_HEAD_ENDS = re.compile(r"[.。;；,，、:：()（）\[\]!！|\n—–]| - |\b(?:because|since|as|due)\b")
_CJK_FILLERS = re.compile("情感|情绪|情緒|评价|評價|倾向|感情|非常|很|的")
_WRAPPING_CHARS = "*_\"'`“”‘’„«»「」『』<>[]{}()（）#~=\\/ \t"
MAX_CHARS = 300
"""Characters of a value in which a label is searched."""


def _fold(word: str) -> str:
    return unicodedata.normalize("NFKC", word).casefold().replace("−", "-")


LABEL_TABLE = {
    _fold(w.replace("_", " ")): p for p, words in _LABEL_WORDS.items() for w in words.split()
}
"""The polarity of each known word, case-folded."""

_LABEL_PATTERN = re.compile(
    "|".join(
        re.escape(w) if re.match(f"[{_CJK}]", w) else rf"(?<!\w){re.escape(w)}(?!\w)"
        for w in sorted(LABEL_TABLE, key=len, reverse=True)
        if len(w) > 3 or (re.match(f"[{_CJK}]", w) and len(w) > 1)
    )
)


def parse_label(value: str, label_words: Mapping[str, Polarity]) -> Polarity | None:
    """Return the only polarity that `value` names, or None.

    Args:
        value: The text of a label field. Text after a full stop or a comma may be anything but
            another label.
        label_words: The polarity of each label word of the prompt; they take precedence.
    """
    text = _SYMBOLS.sub(" ", _fold(value[:MAX_CHARS])).strip(_WRAPPING_CHARS + "\n")
    prompt_labels = {_fold(w): p for w, p in label_words.items()}
    table = ChainMap(prompt_labels, LABEL_TABLE)
    if text in prompt_labels:
        return prompt_labels[text]
    end = _HEAD_ENDS.search(text)
    head, tail = (text[: end.start()], text[end.start() :]) if end else (text, "")
    label = _head_label(head, table)
    other_labels = {LABEL_TABLE[m.group()] for m in _LABEL_PATTERN.finditer(tail)}
    other_labels |= {p for w, p in prompt_labels.items() if len(w) > 1 and f" {w} " in f" {tail} "}
    return None if other_labels - {label} else label


def _head_label(head: str, table: Mapping[str, Polarity]) -> Polarity | None:
    if head in table:
        return table[head]
    if re.search(f"[{_CJK}]", head):
        head = _CJK_FILLERS.sub(" ", head)
    words = [w for raw in head.split() if (w := raw.strip(_WRAPPING_CHARS)) and w.strip("-•")]
    labels = {table.get(w) for w in words if w in table or w not in _FILLERS}
    return labels.pop() if len(labels) == 1 else None


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
