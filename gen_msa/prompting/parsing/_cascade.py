"""Parse an answer about one aspect: label slot, JSON, keyed lines or a bare label, in this order.

The first of these that has a label key decides. If its value names no label, or two, or if another
form in the same answer names another label, the answer is unparsed; there is no fallback to a
guess. JSON that stands in the post is a quote, and an answer about another aspect is none.

    parse_answer(FinalAnswer("Sentiment: positive"), Question(prompt), slot_label=None).label
"""

import functools
import itertools
import re
import unicodedata
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic_core import from_json

from gen_msa.prompting.parsing._reasoning import FinalAnswer
from gen_msa.prompting.prompt import Prompt
from gen_msa.types import Polarity

# Extract structure from an answer: JSON objects, and keyed lines in any case and markup.

MAX_OBJECTS = 64
MAX_JSON_TOKENS = 20_000
"""Brackets and strings scanned; a usual answer has a few dozen."""

_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[{}]', re.DOTALL)
_OBJECT_START = re.compile(
    r"\{(?:\s|//[^\n]{0,200}\n|#[^\n]{0,200}\n|/\*[^*]{0,200}\*/)*+(?:[\"'“”‘’}]|\Z)"
)
_HAS_PAIR = re.compile(r"[\w\"'“”‘’]\s{0,4}[:：]")
_FANCY_QUOTES = re.compile("[“”„]")
MAX_REPAIRED_CHARS = 10_000
"""Longer objects that are not valid JSON are not repaired; a usual answer has a few hundred."""


class JsonObject(NamedTuple):
    """An object in an answer, and where it stands."""

    value: dict[str, Any]
    start: int
    end: int


def find_json_objects(text: str) -> tuple[list[JsonObject], bool]:
    """Return every outermost JSON object of `text`, in order, and whether the last is incomplete.

    An object with single quotes, comments, trailing commas or bare line breaks is repaired. Text in
    braces that is no object is skipped.
    """
    results: list[JsonObject] = []
    budget = MAX_JSON_TOKENS
    match = _OBJECT_START.search(text)
    while match and len(results) < MAX_OBJECTS and budget > 0:
        end, n_tokens = _object_end(text, match.start(), budget)
        budget -= n_tokens
        if end is None:
            return results, True
        value = _parse_json(text[match.start() : end])
        if isinstance(value, dict):
            results.append(JsonObject(value, match.start(), end))
        match = _OBJECT_START.search(text, end)
    return results, False


def without_spans(text: str, objects: Sequence[JsonObject]) -> str:
    """Return the text without some of its objects.

    Args:
        text: The text.
        objects: The objects, in order.
    """
    starts = [0, *(o.end for o in objects)]
    ends = [*(o.start for o in objects), len(text)]
    return "\n".join(text[a:b] for a, b in zip(starts, ends, strict=True))


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
        pass
    if len(text) > MAX_REPAIRED_CHARS or not _HAS_PAIR.search(text):
        return None
    from json_repair import repair_json

    try:
        return repair_json(_FANCY_QUOTES.sub('"', text), return_objects=True)
    except (ValueError, RecursionError):
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
    about: str = ""
    """What stands between a label's key and its colon: `towards the screen`."""
    line: str = ""
    """The line that the key begins, as the answer has it; "" for the first line."""


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
        groups = match.groupdict()
        about = (groups.pop("about") or "").strip()
        role = next(r for r, matched_text in groups.items() if matched_text)
        line = match.group() + first_line(text[match.end() : match.end() + MAX_CHARS])
        line = line if text[: match.start()].strip() else ""
        value = text[match.end() : following.start() if following else None].strip()
        inline_match = inline.search(value, 0, MAX_INLINE_CHARS) if role == "label" else None
        if inline_match:  # both on one line: "Sentiment: positive. Explanation: …"
            keyed_lines.append(KeyedLine("label", value[: inline_match.start()], about, line))
            role, value = "explanation", value[inline_match.end() :].strip()
        keyed_lines.append(KeyedLine(role, value, about if role == "label" else "", line))
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
    label = (
        f"(?:final |overall )?(?P<label>{any_of['label']})(?: label| polarity)?"
        f"(?P<about>{_KEY_SUFFIX})"
    )
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
_DENIAL_WORDS = (
    "not(?: really| at all| quite| exactly| so)?|no|nope|never|isn't|is not|false|wrong|incorrect"
    "|just kidding|kidding|nicht|nein|non|pas|不是?|没有"
)
_EDGE_CHARS = _WRAPPING_CHARS + "\n.,;:!?-–—|。，；：！？…"
_DENIAL = re.compile(_DENIAL_WORDS)
_DENIED_IN_BRACKETS = re.compile(
    rf"[\s?!.]*+[(\[（]\s*+(?:not\b(?! sure| certain)|(?:{_DENIAL_WORDS})[\s.!]*+[)\]）])"
)
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
    return None if other_labels - {label} or _is_taken_back(tail) else label


def _is_taken_back(tail: str) -> bool:
    """Return whether the text after a label denies it: `(not)`, `? No.`, `- not really`."""
    return bool(_DENIED_IN_BRACKETS.match(tail)) or bool(_DENIAL.fullmatch(tail.strip(_EDGE_CHARS)))


def _head_label(head: str, table: Mapping[str, Polarity]) -> Polarity | None:
    if head in table:
        return table[head]
    if re.search(f"[{_CJK}]", head):
        head = _CJK_FILLERS.sub(" ", head)
    words = [w for raw in head.split() if (w := raw.strip(_WRAPPING_CHARS)) and w.strip("-•")]
    labels = {table.get(w) for w in words if w in table or w not in _FILLERS}
    return labels.pop() if len(labels) == 1 else None


_BLANK = re.compile('[\\s\u200b\ufeff{}\\[\\]":,`]*+\\Z')
_IN_BRACKETS = re.compile(r"[^\n(（]{1,40}[(（]([^)）\n]{1,80})[)）]")
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


@dataclass(frozen=True)
class Question:
    """What was asked, so that quotes and answers about something else are told from an answer."""

    prompt: Prompt
    aspect: str = ""
    """"" for the post as a whole."""
    other_aspects: tuple[str, ...] = ()
    post_text: str = ""

    @functools.cached_property
    def label_words(self) -> dict[str, Polarity]:
        """The polarity of each label word of the prompt."""
        return {word: p for p, word in self.prompt.labels.items()}

    @functools.cached_property
    def _compact_post(self) -> str:
        return "".join(self.post_text.split())

    def is_quoted(self, text: str) -> bool:
        """Return whether a text stands in the post, whatever its blanks."""
        return "".join(text.split()) in self._compact_post

    def is_about(self, term: str | None) -> bool:
        """Return whether a term that an answer names can be the aspect of the question."""
        words, own_words = _term_words(term or ""), _term_words(self.aspect)
        if not words or not own_words or words == own_words:
            return True
        if any(words == _term_words(other) for other in self.other_aspects):
            return False
        named, own = f" {' '.join(words)} ", f" {' '.join(own_words)} "
        return own in named or named in own

    def is_quoted_line(self, line: KeyedLine) -> bool:
        """Return whether a keyed line below the first one is a quote, perhaps of the post."""
        key = line.line.removesuffix(first_line(line.value))
        is_open = key.count('"') % 2 == 1 or key.count("“") > key.count("”")
        return bool(line.line) and (is_open or self.is_quoted(line.line))

    def is_line_about(self, about: str) -> bool:
        """Return whether a label line whose key names something (`towards X`) is about the aspect.

        Only another aspect of the post counts as something else; a key may say anything more.
        """
        words = f" {' '.join(_term_words(about))} "
        if not about or f" {' '.join(_term_words(self.aspect))} " in words:
            return True
        others = (" ".join(_term_words(other)) for other in self.other_aspects)
        return not any(other and f" {other} " in words for other in others)

    def label(self, value: str) -> Polarity | None:
        """Return the only polarity that a value names, unless brackets name another aspect."""
        about = _IN_BRACKETS.match(value)
        if about and not self.is_line_about(about[1]):
            return None
        return parse_label(value, self.label_words)


def _term_words(term: str) -> list[str]:
    words = re.findall(r"\w+", _fold(term[:200]))
    return [w for w in words if w not in ("the", "a", "an")] or words


def begins_with_form(text: str, prompt: Prompt) -> bool:
    """Return whether an answer begins with a label, in a keyed line or in JSON.

    Args:
        text: The answer.
        prompt: The prompt that was answered.
    """
    head = text.lstrip()[:2_000]
    if head.startswith("{"):
        objects, _ = find_json_objects(head)
        roles = {role_for_key(k, prompt.keys) for o in objects[:1] for k in o.value}
        return "label" in roles
    return any(f.role == "label" for f in parse_keyed_lines(first_line(head), prompt.keys))


def parse_answer(
    answer: FinalAnswer, question: Question, slot_label: Polarity | None
) -> ParsedAnswer:
    """Parse what an answer says about one aspect.

    Args:
        answer: The answer without thoughts.
        question: What was asked.
        slot_label: The label that the scores of the label slot decided; None without a slot.

    Returns:
        The fields found and the form in which they were written; `none` for cut JSON or no label.
    """
    if slot_label is not None:
        text = answer.text if answer.text.strip() else answer.wrapped or ""
        keyed_lines = parse_keyed_lines(text, question.prompt.keys)
        return ParsedAnswer(
            "slot",
            slot_label,
            _first_value(keyed_lines, "explanation"),
            _evidence_quotes(keyed_lines),
        )
    if answer.is_ambiguous:
        return ParsedAnswer("none")
    if answer.wrapped is None:
        return _parse_forms(answer.text, question) or _bare_label(answer.text, question)
    inner = _parse_forms(answer.wrapped, question) or _bare_label(answer.wrapped, question)
    outer = _parse_forms(answer.text, question)
    if outer is None:
        return inner
    if outer.label is not inner.label:
        return ParsedAnswer(outer.form)
    return inner if inner.explanation else outer


def _parse_forms(text: str, question: Question) -> ParsedAnswer | None:
    """Parse the JSON and the keyed lines of a text; None if neither has a label."""
    found_objects, is_cut = find_json_objects(text)
    if is_cut:
        return ParsedAnswer("none")
    objects = [o for o in found_objects if not question.is_quoted(text[o.start : o.end])]
    json_answers = [
        r
        for o in objects
        for d in (o.value, *nested_objects(o.value))
        if (r := answer_from_object(d, question.prompt, question.label_words))
    ]
    rest = without_spans(text, found_objects) if json_answers else text
    lines_answer = _parse_lines(rest, question)
    if not json_answers:
        return lines_answer
    if not any(question.is_about(r.aspect) for r in json_answers):
        return ParsedAnswer("json")
    quoted = [o for o in found_objects if o not in objects]
    json_answer = _consistent_answer(json_answers, without_spans(text, quoted), question)
    if lines_answer and lines_answer.label is not json_answer.label:
        return ParsedAnswer("json")
    return json_answer


def _parse_lines(text: str, question: Question) -> ParsedAnswer | None:
    keyed_lines = parse_keyed_lines(text, question.prompt.keys)
    relevant: list[KeyedLine] = []
    is_about, has_label = True, False
    for line in keyed_lines:
        if line.role == "aspect":
            is_about = question.is_about(first_line(line.value))
        has_value = line.role == "label" and bool(line.value) and not question.is_quoted_line(line)
        has_label |= has_value
        if is_about and (
            line.role != "label" or (has_value and question.is_line_about(line.about))
        ):
            relevant.append(line)
    if not has_label:
        return None
    label = only_label({question.label(first_line(f.value)) for f in relevant if f.role == "label"})
    return ParsedAnswer(
        "lines", label, _first_value(relevant, "explanation"), _evidence_quotes(relevant)
    )


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


def _consistent_answer(answers: list[ParsedAnswer], text: str, question: Question) -> ParsedAnswer:
    """Return the first of several objects if all name one label, else an answer without a label.

    A JSON parser hides a key that occurs twice in one object, so the text is searched as well.
    """
    pairs = (m.groups() for m in itertools.islice(_PAIR.finditer(text), 1_000))
    pair_labels = {
        parse_label(v, question.label_words)
        for k, v in pairs
        if role_for_key(k, question.prompt.keys) == "label"
    }
    if only_label({r.label for r in answers} | pair_labels) is None:
        return ParsedAnswer("json")
    return next((r for r in answers if question.is_about(r.aspect)), answers[0])


def _bare_label(text: str, question: Question) -> ParsedAnswer:
    line = first_line(text)
    label = question.label(line)
    if label is None:
        return ParsedAnswer("none")
    remainder = text.lstrip()[len(line) :].strip()
    explanation = _first_value(parse_keyed_lines(text, question.prompt.keys), "explanation")
    return ParsedAnswer("bare", label, explanation or remainder or None)


def _first_value(keyed_lines: list[KeyedLine], role: str) -> str | None:
    values = (f.value for f in keyed_lines if f.role == role)
    return next((v for v in values if v), None)


def _evidence_quotes(keyed_lines: list[KeyedLine]) -> tuple[str, ...]:
    value = _first_value(keyed_lines, "evidence")
    return () if value is None else tuple(line.strip(" -*\t\"'“”") for line in value.splitlines())
