"""Parse a judge's answer to the option it chose: from scores, JSON, a keyed line or a bare word.

An answer that names no option, two, or none exactly (`4.5`) is unparsed; its status says why.

    completion = Completion(text="Score: 4", finish_reason="stop")
    parse_verdict(load_prompt("judge/focus"), completion).option      # '4'
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gen_msa.chat import Completion
from gen_msa.prompting.parsing._cascade import (
    find_json_objects,
    first_line,
    is_blank,
    parse_keyed_lines,
    role_for_key,
)
from gen_msa.prompting.parsing._reasoning import final_answer
from gen_msa.prompting.prompt import Prompt
from gen_msa.types import Status

MAX_CHARS = 20_000
"""Characters of an answer that are parsed."""

_DECORATION_CHARS = " \t*_\"'`“”[](){}<>.,"


@dataclass(frozen=True)
class Verdict:
    """The parsed answer of a judge."""

    status: Status
    option: str | None = None
    """As in the prompt; None unless `status` is OK."""
    probs: dict[str, float] | None = None
    """Probability of each option if the backend scored them; they sum to 1."""
    explanation: str | None = None


def parse_verdict(prompt: Prompt, completion: Completion) -> Verdict:
    """Parse the answer to a prompt of task `judge`. Never raises.

    Scores of the options decide where the backend has them. An answer that reached the token limit
    counts if the line of its choice is complete.

    Args:
        prompt: The prompt that was answered.
        completion: The answer.

    Returns:
        The status and, if it is OK, the chosen option.
    """
    if completion.finish_reason == "error":
        return Verdict(Status.ERROR)
    final = final_answer(completion.text[:MAX_CHARS])
    answer = "" if final.is_ambiguous else final.wrapped or final.text
    explanation = next(
        (f.value for f in parse_keyed_lines(answer, prompt.keys) if f.role == "explanation"), None
    )
    if probs := _option_probabilities(completion.option_logprobs, prompt.options):
        return Verdict(Status.OK, max(probs, key=lambda o: probs[o]), probs, explanation or None)
    is_cut = completion.finish_reason == "length"
    if is_blank(answer):
        return Verdict(Status.LENGTH if is_cut else Status.EMPTY)
    option, is_complete, json_explanation = _parse_choice(answer, prompt)
    if is_cut and not is_complete:
        return Verdict(Status.LENGTH)
    return Verdict(
        Status.OK if option else Status.UNPARSED,
        option,
        None,
        json_explanation or explanation or None,
    )


def _option_probabilities(
    scores: Mapping[str, float] | None, options: tuple[str, ...]
) -> dict[str, float] | None:
    """Return probabilities over the options; None unless every option has a usable score."""
    score_by_option = {o.strip(): s for o, s in (scores or {}).items()}
    values = [score_by_option.get(o, math.nan) for o in options]
    if any(math.isnan(v) or v == math.inf for v in values) or max(values) == -math.inf:
        return None
    odds = [math.exp(v - max(values)) for v in values]
    return {o: w / sum(odds) for o, w in zip(options, odds, strict=True)}


def _parse_choice(answer: str, prompt: Prompt) -> tuple[str | None, bool, str | None]:
    """Return the option, whether its line is complete, and the explanation if JSON has one."""
    json_objects, is_cut = find_json_objects(answer)
    if is_cut:
        return None, False, None
    rows = [{role_for_key(k, prompt.keys): v for k, v in o.value.items()} for o in json_objects]
    if rows := [row for row in rows if "label" in row]:
        explanation = rows[0].get("explanation")
        option = _only_option(_match_option(row["label"], prompt.options) for row in rows)
        return option, True, explanation.strip() if isinstance(explanation, str) else None
    if lines := [f.value for f in parse_keyed_lines(answer, prompt.keys) if f.role == "label"]:
        is_complete = answer.rstrip().count("\n") > 0
        return (
            _only_option(_match_option(first_line(v), prompt.options) for v in lines),
            is_complete,
            None,
        )
    return _match_option(first_line(answer), prompt.options), "\n" in answer.strip(), None


def _only_option(options: Iterable[str | None]) -> str | None:
    distinct = set(options)
    return distinct.pop() if len(distinct) == 1 else None


def _match_option(value: Any, options: tuple[str, ...]) -> str | None:
    """Return the option that `value` is or starts with: `4`, `4/5`, `**B**`, `A: it quotes`."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip(_DECORATION_CHARS).casefold()
    alternatives = "|".join(re.escape(o.casefold()) for o in sorted(options, key=len, reverse=True))
    last = re.escape(options[-1].casefold())
    scale_suffix = rf"(?:\s*/\s*{last}(?!\d)|\s+out of\s+{last}(?!\d))?+"
    match = re.match(
        rf"({alternatives}){scale_suffix}(?![\w])(?![.,]\d)[{re.escape(_DECORATION_CHARS)}]*", text
    )
    if not match:
        return None
    tail = text[match.end() :]
    if re.match(rf"(?:or|and|to|[-–—/&~])\s*(?:{alternatives})(?!\w)", tail):
        return None
    return next(o for o in options if o.casefold() == match[1])
