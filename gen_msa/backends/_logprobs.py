"""Log-probabilities of a slot's options, found in the tokens of an answer that went its own way.

Knows no server. The label is looked for behind its key in JSON, or behind the slot's lead; from
there the tokens are followed to the point where only one option is left, and the other likely
tokens of each step are counted for the options they begin.

    steps = [Step(b'{"label":"', 0.0, ()), Step(b"good", -0.1, ((b"good", -0.1), (b"bad", -2.4)))]
    option_logprobs(steps, choice, schema)      # ({"good": -0.1, "bad": -2.4}, "")
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gen_msa.chat import Choice

_UNSURE = 0.01
"""Share of the probability that may lie on tokens that begin some options, but not one alone."""
_NEVER = -1e4


class Step(NamedTuple):
    """One token of an answer, and the likeliest tokens (nats) at its place, itself among them."""

    token: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...]


def option_logprobs(
    steps: Sequence[Step], choice: Choice, schema: Mapping[str, Any] | None
) -> tuple[dict[str, float] | None, str]:
    """Log-probability of each option, and what must be said of it (`""` for nothing).

    It is that of the tokens up to where the option is the only one possible. An option that is not
    among the likeliest tokens gets the highest value it can have, and the note names it.
    """
    start = _start(b"".join(s.token for s in steps), choice, schema)
    if start is None:
        return None, "none: no label among the tokens"
    walk = _Walk(choice)
    at = 0
    for step in steps:
        before = max(0, start - at)
        at += len(step.token)
        if at > start and not walk.goes_on(step, before):
            break
    return walk.result()


class _Walk:
    """Follows the label's tokens; `mass` collects log-probabilities by option."""

    def __init__(self, choice: Choice) -> None:
        self._words = {o: o.strip().lower() for o in choice.options}
        self._mass: dict[str, list[float]] = {o: [] for o in choice.options}
        self._left = list(choice.options)
        self._unsure: list[float] = []
        self._bounded: list[str] = []
        self._said = b""
        self._path = 0.0

    def goes_on(self, step: Step, before: int) -> bool:
        """Take one token, whose first `before` bytes precede the label; False at the end."""
        lead = step.token[:before]
        for token, logprob in step.top:
            if token != step.token and token.startswith(lead):
                self._count(self._fitting(self._said + token[before:]), logprob)
        self._said += step.token[before:]
        fitting = self._fitting(self._said)
        if len(fitting) == 1:
            self._count(fitting, step.logprob)
        self._bound([o for o in self._left if o not in fitting or len(fitting) == 1], step)
        self._left = fitting
        self._path += step.logprob
        return len(fitting) > 1

    def result(self) -> tuple[dict[str, float] | None, str]:
        """What was found, unless too much of it could belong to two options."""
        if len(self._left) > 1:
            return None, "none: the answer ends within the label"
        found = {o: max(_log_sum(m), _NEVER) for o, m in self._mass.items()}
        sure = sum(math.exp(min(v, 0.0)) for v in found.values())
        if sum(math.exp(min(v, 0.0)) for v in self._unsure) > _UNSURE * sure:
            return None, "none: a likely token begins two labels"
        note = ", ".join(o.strip() for o in self._bounded)
        return found, f"at most, for {note}" if note else ""

    def _count(self, options: list[str], logprob: float) -> None:
        if len(options) == 1:
            self._mass[options[0]].append(self._path + logprob)
        elif 1 < len(options) < len(self._words):
            # A token that begins every option (a blank, a quote) favours none and is passed over.
            self._unsure.append(self._path + logprob)

    def _bound(self, gone: list[str], step: Step) -> None:
        """Give the options that are out of the race, and were not seen, all they can have."""
        values = [v for _, v in step.top] or [step.logprob]
        rest = 1.0 - sum(math.exp(min(v, 0.0)) for v in values)
        bound = min(*values, math.log(max(rest, 1e-9)))
        for option in gone:
            if not self._mass[option]:
                self._mass[option].append(self._path + bound)
                self._bounded.append(option)

    def _fitting(self, said: bytes) -> list[str]:
        """The options still possible after `said`."""
        text = said.decode("utf-8", "replace").lstrip().lower()
        return [o for o in self._left if _fits(text, self._words[o])]


def _fits(text: str, word: str) -> bool:
    if word.startswith(text):
        return True
    return text.startswith(word) and not text[len(word)].isalnum()


def _start(answer: bytes, choice: Choice, schema: Mapping[str, Any] | None) -> int | None:
    """Byte at which the label begins."""
    if key := _label_key(choice, schema):
        found = re.search(re.escape(json.dumps(key).encode()) + rb'\s*:\s*"', answer)
        if found:
            return found.end()
    lead = choice.lead.strip().encode()
    at = answer.find(lead)
    return at + len(lead) if lead and at >= 0 else None


def _label_key(choice: Choice, schema: Mapping[str, Any] | None) -> str | None:
    """The property of the schema that takes the options' words."""
    words = {o.strip() for o in choice.options}
    for name, inner in (schema or {}).get("properties", {}).items():
        if set(map(str, inner.get("enum", ()))) == words:
            return str(name)
    return None


def _log_sum(values: Sequence[float]) -> float:
    most = max(values, default=-math.inf)
    if not math.isfinite(most):
        return most
    return most + math.log(sum(math.exp(v - most) for v in values))
