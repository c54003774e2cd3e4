"""A label slot as a regular expression, and whether an answer keeps to it.

Knows no engine. Written for those that know few escapes (vLLM's xgrammar).

    slot_pattern(Choice(lead="Mood:", options=(" bad", " good"), then=""))     # "Mood:( bad| good)"
"""

import re

from gen_msa.chat import Choice

_SIGNS = re.compile(r"[\\^$.*+?{}\[\]()|]")


def slot_pattern(choice: Choice) -> str:
    """A regular expression for the answer: lead, one option, then, and any words after that."""
    options = "|".join(_escaped(o) for o in choice.options)
    end = _escaped(choice.then) + r"[\s\S]*" if choice.then else ""
    return f"{_escaped(choice.lead)}({options}){end}"


def fills(choice: Choice, text: str) -> bool:
    """Whether `text` begins with the lead and one of the options."""
    return text.startswith(tuple(choice.lead + option for option in choice.options))


def _escaped(text: str) -> str:
    """Not `re.escape`: the engine's own reader of patterns knows fewer escapes."""
    return _SIGNS.sub(lambda m: "\\" + m.group(), text)
