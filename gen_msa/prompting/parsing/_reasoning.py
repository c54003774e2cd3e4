"""Separate the final answer of a reasoning model from its thoughts and from wrappers.

Models mark their thoughts in many ways: tags (`<think>`, `<seed:think>`, `[THINK]`, `◁think▷`),
channels (gpt-oss), pairs of markers (`<|begin_of_thought|>`), sentences (Granite). Some chat
templates write the opening mark themselves, so that an answer has only the closing one. Where it
stays open which part is the answer, there is none: a label is never taken from thoughts.

    final_answer("<think>Sentiment: negative?</think>Sentiment: positive").text
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from pydantic_core import from_json

_THOUGHT = (
    r"(?:\w{1,16}:)?(?:think(?:ing)?|thoughts?|thought_process|reasoning|reflect(?:ion|ing)?"
    r"|analysis|analy[sz]ing|scratch_?pad|(?:inner_)?monologue|cot|chain_of_thought|deliberation"
    r"|plan(?:ning)?|internal|summary|caption|critique|思考|推理)"
)
_SPACE = r"[ \t]{0,4}"
_OPENERS = re.compile(
    rf"<\|?{_SPACE}(?:begin_of_|start_)?{_THOUGHT}{_SPACE}\|?>"
    rf"|\[{{1,2}}{_SPACE}{_THOUGHT}{_SPACE}\]{{1,2}}"
    rf"|[◁【〈《]{_SPACE}{_THOUGHT}{_SPACE}[▷】〉》]"
    r"|<\|channel\|>[ \t]{0,4}(?:analysis|commentary)\b"
    r"|<\|START_THINKING\|>|here is my thought process:|thinking\.\.\.(?=\s*+\n)",
    re.IGNORECASE,
)
_CLOSERS = re.compile(
    rf"<\|?/{_SPACE}{_THOUGHT}{_SPACE}\|?>|<\|{_SPACE}(?:end_of_|end_){_THOUGHT}{_SPACE}\|>"
    rf"|\[{{1,2}}/{_SPACE}{_THOUGHT}{_SPACE}\]{{1,2}}"
    rf"|[◁【〈《]/{_SPACE}{_THOUGHT}{_SPACE}[▷】〉》]"
    r"|<\|channel\|>[ \t]{0,4}final[ \t]{0,4}<\|message\|>"
    r"|<\|END_THINKING\|>|here is my response:|^\.\.\.done thinking\.",
    re.IGNORECASE | re.MULTILINE,
)
_HEADING = r"(?:#{1,6}[ \t]*+\**+|\*\*)"
_HEADED_THOUGHTS = re.compile(
    rf"{_HEADING}[ \t]*+(?:my )?(?:step[- ]by[- ]step )?{_THOUGHT}(?: process)?[ \t:*]*+\n",
    re.IGNORECASE,
)
_HEADED_ANSWER = re.compile(
    rf"^[ \t]*+{_HEADING}[ \t]*+(?:final |my )?(?:answer|response|verdict|conclusion|output)"
    r"[ \t:*]*+\n",
    re.IGNORECASE | re.MULTILINE,
)
"""A heading over the answer; it separates thoughts only below a heading over these."""
_PLAIN_CHANNELS = re.compile(r"analysis(?=\W|[A-Z])")
"""What is left of gpt-oss's channels when a tokenizer drops special tokens."""
_PLAIN_FINAL = "assistantfinal"
_END_TOKENS = re.compile(
    r"<\|(?:im_end|eot_id|eom_id|end|endoftext|end_of_text|return|end_of_turn|user|assistant"
    r"|system|end_of_sentence|END_RESPONSE|END_OF_TURN_TOKEN|im_start|start)\|>"
    r"|</s>|<eos>|<end_of_turn>|<end_of_utterance>|<[|｜]end▁of▁sentence[|｜]>|\[/INST\]",
)
_WRAPPER = (
    r"(?:(?:final[_ ]?)?(?:answer|response|output|solution|conclusion|result|final|reply)"
    r"|tool_call|function_call)"
)
_WRAPPED = re.compile(
    rf"<{_SPACE}(?P<tag>{_WRAPPER}){_SPACE}>(?P<a>[^<]*+(?:<(?!/?(?P=tag)\b)[^<]*+)*+)"
    rf"(?:</{_SPACE}(?P=tag){_SPACE}>|\Z)"
    r"|<\|begin_of_(?:box|solution|answer)\|>"
    r"(?P<b>[^<]*+(?:<(?!\|end_of_)[^<]*+)*+)(?:<\|end_of_(?:box|solution|answer)\|>|\Z)"
    r"|<\|START_RESPONSE\|>(?P<c>[^<]*+(?:<(?!\|END_RESPONSE)[^<]*+)*+)(?:<\|END_RESPONSE\|>|\Z)"
    r"|\$?\\boxed\{{1,2}(?:\\text\{)?(?P<d>[^{}\n]{0,400})\}{1,3}\$?",
    re.IGNORECASE,
)
_UNKNOWN_OPENER = re.compile(
    r"\s*+(?P<mark><\|?(?P<t>[A-Za-z][\w:\- ]{0,30})\|?>|\[\[(?P<s>[A-Za-z][\w:\- ]{0,30})\]\]"
    r"|\[(?P<u>[A-Z][A-Z_\- ]{2,30})\](?=\s*+\n)"
    r"|[◁【〈《「](?P<k>[^\n▷】〉》」]{1,30})[▷】〉》」](?=\s*+\n))"
)
_ANY_MARK = re.compile(
    r"(?:<\|?|\[{1,2}|[◁【〈《])(?P<slash>/?)(?P<name>[A-Za-z][\w:-]{0,30})(?:\|?>|\]{1,2}|[▷】〉》])"
)
_FORMATTING_TEXT = (
    "b i u p em strong span div br ul ol li code pre h1 h2 h3 h4 hr a q s table json xml html "
    "sentiment polarity label class explanation reason rationale justification evidence quote "
    "quotes aspect target term opinion opinions aspects"
)
_FORMATTING_TAGS = frozenset(_FORMATTING_TEXT.split())
_FIELD_TAGS = re.compile(
    r"<(?P<key>sentiment|polarity|label|class|explanation|reason|rationale|justification|evidence"
    r"|quotes?|aspect)>(?P<value>[^<]*+(?:<(?!/?(?P=key)\b)[^<]*+)*+)</(?P=key)>",
    re.IGNORECASE,
)
_FIELD_HEADINGS = re.compile(
    r"^[ \t]*+(?:#{1,6}[ \t]*+\**+|\*\*)(?P<key>sentiment|polarity|label|explanation|reason"
    r"|rationale|justification|evidence|quotes?|aspect)[ \t]*+\**+[ \t]*+\n\s*+(?=\S)",
    re.IGNORECASE | re.MULTILINE,
)
"""A field's name as a heading or in bold type, alone on its line."""
_FENCE = re.compile(r"^[ \t]*+```[a-zA-Z]*+[ \t]*+$", re.MULTILINE)


class FinalAnswer(NamedTuple):
    """What a model answered after its thoughts."""

    text: str
    wrapped: str | None = None
    """The content of `<answer>…</answer>`, `\\boxed{…}` and their kind, if the text has one."""
    is_ambiguous: bool = False
    """It stays open which part is the answer; then there is none."""
    has_thoughts: bool = False


def final_answer(
    text: str, post_text: str = "", is_form: Callable[[str], bool] = lambda _: False
) -> FinalAnswer:
    """Return the part of a model's answer that follows its thoughts.

    Args:
        text: The complete answer.
        post_text: The post; a mark that stands in it is a quote and separates nothing.
        is_form: Whether a text begins with the prompt's own form. A closing mark without an opening
            one separates nothing in such a text.

    Returns:
        The answer without thoughts, fences and end tokens; its text is "" if thoughts do not end.
    """
    if _is_json_object(text):  # a mark in one of its strings separates nothing
        return FinalAnswer(text)
    body = text
    opener = _OPENERS.match(_without_start_tokens(body))
    closers = [m for m in _CLOSERS.finditer(body) if m.group() not in post_text]
    if opener is None and not closers and _HEADED_THOUGHTS.match(body.lstrip()):
        closers = [m for m in _HEADED_ANSWER.finditer(body) if m.group().strip() not in post_text]
        opener = closers[0] if closers else None
    has_thoughts = opener is not None or bool(closers)
    is_ambiguous = False
    if not has_thoughts and _PLAIN_CHANNELS.match(body.lstrip()):
        _, found, answer = body.rpartition(_PLAIN_FINAL)
        if found:
            answer = _without_end_tokens(answer, post_text)
            return _unwrapped(answer, post_text, has_thoughts=True)
    if closers:
        first, last = body[closers[0].end() :], body[closers[-1].end() :]
        if opener is None and is_form(body):
            is_ambiguous = True
        elif len(closers) > 1 and is_form(first) and not is_form(last):
            # Either the thoughts hold an answer, or the answer holds a closing mark.
            is_ambiguous = True
        body = last
    elif opener is not None:
        return FinalAnswer("", has_thoughts=True)
    body = _without_end_tokens(body, post_text)
    if _OPENERS.match(_without_start_tokens(body)):  # thoughts again, that do not end
        return FinalAnswer("", has_thoughts=True)
    body, is_unknown = _without_unknown_block(body)
    if is_ambiguous or is_unknown:
        return FinalAnswer("", is_ambiguous=True, has_thoughts=True)
    return _unwrapped(_without_marked_blocks(body, post_text), post_text, has_thoughts=has_thoughts)


def _is_json_object(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        return isinstance(from_json(text), dict)
    except ValueError:
        return False


def _unwrapped(body: str, post_text: str, *, has_thoughts: bool) -> FinalAnswer:
    """Return the answer without fences, and what stands in a wrapper; the post's own are quotes."""

    def field_line(match: re.Match[str]) -> str:
        if match.group() in post_text:
            return match.group()
        return f"\n{match['key']}: {match['value'].strip()}\n"

    def field_start(match: re.Match[str]) -> str:
        return match.group() if match.group() in post_text else f"{match['key']}: "

    body = _FENCE.sub("", body) if "```" in body else body
    body = _FIELD_HEADINGS.sub(field_start, _FIELD_TAGS.sub(field_line, body))
    matches = [m for m in _WRAPPED.finditer(body) if m.group() not in post_text]
    if not matches:
        return FinalAnswer(body, has_thoughts=has_thoughts)
    contents = [next(g for g in m.group("a", "b", "c", "d") if g is not None) for m in matches]
    rest = _WRAPPED.sub(lambda m: m.group() if m.group() in post_text else "\n", body)
    if len({c.strip() for c in contents}) > 1:
        return FinalAnswer(body, has_thoughts=has_thoughts, is_ambiguous=True)
    return FinalAnswer(rest, contents[0], has_thoughts=has_thoughts)


def _without_marked_blocks(body: str, post_text: str) -> str:
    """Drop blocks of several lines between marks of any name, wherever they stand."""
    opened: dict[str, int] = {}
    pieces: list[str] = []
    end = 0
    for mark in _ANY_MARK.finditer(body):
        name = mark["name"].casefold()
        if name in _FORMATTING_TAGS or re.fullmatch(_WRAPPER, name):
            continue
        if not mark["slash"]:
            opened.setdefault(name, mark.start())
        elif (start := opened.pop(name, -1)) >= end:
            block = body[start : mark.end()]
            if "\n" in block and block not in post_text:
                pieces.append(body[end:start])
                end = mark.end()
    return "".join([*pieces, body[end:]])


def _without_end_tokens(text: str, post_text: str) -> str:
    """Cut at the first end token that follows an answer; what comes after it is another turn."""
    for match in _END_TOKENS.finditer(text):
        if match.group() not in post_text and not _only_markers(text[: match.start()]):
            return text[: match.start()]
    return _END_TOKENS.sub("", text)


def _without_start_tokens(text: str) -> str:
    return re.sub(r"\A(?:\s|<\|(?:start|im_start)\|>|assistant(?=\s|<))*+", "", text)


def _only_markers(head: str) -> bool:
    return len(head) < 1_000 and not re.sub(r"<[^<>]{0,60}>|assistant", "", head).strip()


def _without_unknown_block(body: str) -> tuple[str, bool]:
    """Drop a block in unknown marks at the start; True if it is not known where it ends."""
    match = _UNKNOWN_OPENER.match(body)
    if match is None:
        return body, False
    name = next(g for g in match.group("t", "s", "u", "k") if g is not None).strip()
    if name.casefold() in _FORMATTING_TAGS or re.fullmatch(_WRAPPER, name, re.IGNORECASE):
        return body, False
    if match["t"] is not None and _WRAPPED.match(body.lstrip()):
        return body, False
    closing = re.search(
        rf"[<\[【◁〈《「]{{1,2}}\|?(?:/|end_(?:of_)?){_SPACE}{re.escape(name)}{_SPACE}\|?[>\]】▷〉》」]{{1,2}}",
        body[match.end() :],
        re.IGNORECASE,
    )
    if closing is None:
        return body, True
    return body[match.end() + closing.end() :], False
