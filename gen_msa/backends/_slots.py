"""A label slot as a regular expression, and whether an answer keeps to it.

Knows no engine. Written for those that know few escapes (vLLM's xgrammar).

    slot_pattern(Choice(lead="Mood:", options=(" bad", " good"), then=""))     # "Mood:( bad| good)"
"""

import re

from gen_msa.chat import ChoiceSlot

_SPECIAL_CHARS = re.compile(r"[\\^$.*+?{}\[\]()|]")


def slot_pattern(choice: ChoiceSlot) -> str:
    """A regular expression for the answer: lead, one option, then, and any words after that."""
    options = "|".join(_escape(o) for o in choice.options)
    end = _escape(choice.suffix) + r"[\s\S]*" if choice.suffix else ""
    return f"{_escape(choice.prefix)}({options}){end}"


def matches_slot(choice: ChoiceSlot, text: str) -> bool:
    """Whether `text` begins with the lead and one of the options."""
    return text.startswith(tuple(choice.prefix + option for option in choice.options))


def _escape(text: str) -> str:
    """Not `re.escape`: the engine's own reader of patterns knows fewer escapes."""
    return _SPECIAL_CHARS.sub(lambda m: "\\" + m.group(), text)
