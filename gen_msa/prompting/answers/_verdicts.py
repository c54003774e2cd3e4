"""From a judge's answer to the option it chose: by scores, JSON, a keyed line, or a bare word.

Knows nothing of what the options mean. An answer that names no option, two, or half of one (`4.5`)
is unread and says why; nothing is guessed.

    read_verdict(load("judge/focus"), Completion(text="Score: 4", finish_reason="stop")).option
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gen_msa.chat import Completion
from gen_msa.prompting.answers._json import objects
from gen_msa.prompting.answers._ladder import answer_of, blank
from gen_msa.prompting.answers._lines import fields, first_line, role_of
from gen_msa.prompting.prompt import Prompt
from gen_msa.types import Status

MAX_CHARS = 20_000
"""Of an answer that are read."""

_DRESS = " \t*_\"'`“”[](){}<>.,"


@dataclass(frozen=True)
class Verdict:
    """What a judge said."""

    status: Status
    option: str | None = None
    """As the prompt writes it; None unless `status` is OK."""
    probs: dict[str, float] | None = None
    """Probability of each option, where the backend could score them; they sum to 1."""
    why: str | None = None


def read_verdict(prompt: Prompt, completion: Completion) -> Verdict:
    """The verdict in an answer to a prompt of task `judge`. Never raises.

    Scores decide where there are any. An answer that ran into the token limit counts when the line
    of its choice had ended.
    """
    if completion.finish_reason == "error":
        return Verdict(Status.ERROR)
    answer = answer_of(completion.text[:MAX_CHARS])
    why = next((f.value for f in fields(answer, prompt.keys) if f.role == "explanation"), None)
    if probs := _probabilities(completion.option_logprobs, prompt.options):
        return Verdict(Status.OK, max(probs, key=lambda o: probs[o]), probs, why or None)
    cut = completion.finish_reason == "length"
    if blank(answer):
        return Verdict(Status.LENGTH if cut else Status.EMPTY)
    option, ended, said = _chosen(answer, prompt)
    if cut and not ended:
        return Verdict(Status.LENGTH)
    return Verdict(Status.OK if option else Status.UNPARSED, option, None, said or why or None)


def _probabilities(
    scores: Mapping[str, float] | None, options: tuple[str, ...]
) -> dict[str, float] | None:
    """Probabilities over the options; None unless every option has a usable score."""
    named = {o.strip(): s for o, s in (scores or {}).items()}
    values = [named.get(o, math.nan) for o in options]
    if any(math.isnan(v) or v == math.inf for v in values) or max(values) == -math.inf:
        return None
    odds = [math.exp(v - max(values)) for v in values]
    return {o: w / sum(odds) for o, w in zip(options, odds, strict=True)}


def _chosen(answer: str, prompt: Prompt) -> tuple[str | None, bool, str | None]:
    """The option, whether its line had ended, and the reason where JSON gives one."""
    found, cut = objects(answer)
    if cut:
        return None, False, None
    rows = [{role_of(k, prompt.keys): v for k, v in row.items()} for row in found]
    if rows := [row for row in rows if "label" in row]:
        why = rows[0].get("explanation")
        option = _one(_option(row["label"], prompt.options) for row in rows)
        return option, True, why.strip() if isinstance(why, str) else None
    if lines := [f.value for f in fields(answer, prompt.keys) if f.role == "label"]:
        ended = answer.rstrip().count("\n") > 0
        return _one(_option(first_line(v), prompt.options) for v in lines), ended, None
    return _option(first_line(answer), prompt.options), "\n" in answer.strip(), None


def _one(options: Iterable[str | None]) -> str | None:
    found = set(options)
    return found.pop() if len(found) == 1 else None


def _option(value: Any, options: tuple[str, ...]) -> str | None:
    """The option that `value` is, or begins with: `4`, `4/5`, `**B**`, `A: it quotes the post`."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip(_DRESS).casefold()
    any_of = "|".join(re.escape(o.casefold()) for o in sorted(options, key=len, reverse=True))
    last = re.escape(options[-1].casefold())
    top = rf"(?:\s*/\s*{last}(?!\d)|\s+out of\s+{last}(?!\d))?+"
    found = re.match(rf"({any_of}){top}(?![\w])(?![.,]\d)[{re.escape(_DRESS)}]*", text)
    if not found:
        return None
    rest = text[found.end() :]
    if re.match(rf"(?:or|and|to|[-–—/&~])\s*(?:{any_of})(?!\w)", rest):
        return None
    return next(o for o in options if o.casefold() == found[1])
