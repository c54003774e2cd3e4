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

from gen_msa.chat import ChoiceSlot

# A label slot as a regular expression, and whether an answer keeps to it.

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


_MAX_AMBIGUOUS_SHARE = 0.01
"""Share of the probability that may lie on tokens that begin some options, but not one alone."""
_MIN_LOGPROB = -1e4


class TokenLogprobs(NamedTuple):
    """One token of an answer, and the likeliest tokens (nats) at its place, itself among them."""

    token: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...]


def option_logprobs(
    steps: Sequence[TokenLogprobs], choice: ChoiceSlot, schema: Mapping[str, Any] | None
) -> tuple[dict[str, float] | None, str]:
    """Log-probability of each option, and what must be said of it (`""` for nothing).

    It is that of the tokens up to where the option is the only one possible. An option that is not
    among the likeliest tokens gets the highest value it can have, and the note names it.
    """
    start = _label_start(b"".join(s.token for s in steps), choice, schema)
    if start is None:
        return None, "none: no label among the tokens"
    tracker = _OptionTracker(choice)
    offset = 0
    for step in steps:
        n_prefix_bytes = max(0, start - offset)
        offset += len(step.token)
        if offset > start and not tracker.advance(step, n_prefix_bytes):
            break
    return tracker.result()


class _OptionTracker:
    """Follows the label's tokens; `mass` collects log-probabilities by option."""

    def __init__(self, choice: ChoiceSlot) -> None:
        self._option_texts = {o: o.strip().lower() for o in choice.options}
        self._mass: dict[str, list[float]] = {o: [] for o in choice.options}
        self._candidates = list(choice.options)
        self._ambiguous: list[float] = []
        self._upper_bounded: list[str] = []
        self._consumed = b""
        self._prefix_logprob = 0.0

    def advance(self, step: TokenLogprobs, n_prefix_bytes: int) -> bool:
        """Take one token, whose first `before` bytes precede the label; False at the end."""
        lead = step.token[:n_prefix_bytes]
        for token, logprob in step.top:
            if token != step.token and token.startswith(lead):
                self._add_mass(
                    self._matching_options(self._consumed + token[n_prefix_bytes:]), logprob
                )
        self._consumed += step.token[n_prefix_bytes:]
        matching = self._matching_options(self._consumed)
        if len(matching) == 1:
            self._add_mass(matching, step.logprob)
        self._add_upper_bounds(
            [o for o in self._candidates if o not in matching or len(matching) == 1], step
        )
        self._candidates = matching
        self._prefix_logprob += step.logprob
        return len(matching) > 1

    def result(self) -> tuple[dict[str, float] | None, str]:
        """What was found, unless too much of it could belong to two options."""
        if len(self._candidates) > 1:
            return None, "none: the answer ends within the label"
        logprobs = {o: max(_logsumexp(m), _MIN_LOGPROB) for o, m in self._mass.items()}
        certain_mass = sum(math.exp(min(v, 0.0)) for v in logprobs.values())
        if (
            sum(math.exp(min(v, 0.0)) for v in self._ambiguous)
            > _MAX_AMBIGUOUS_SHARE * certain_mass
        ):
            return None, "none: a likely token begins two labels"
        note = ", ".join(o.strip() for o in self._upper_bounded)
        return logprobs, f"at most, for {note}" if note else ""

    def _add_mass(self, options: list[str], logprob: float) -> None:
        if len(options) == 1:
            self._mass[options[0]].append(self._prefix_logprob + logprob)
        elif 1 < len(options) < len(self._option_texts):
            # A token that begins every option (a blank, a quote) favours none and is passed over.
            self._ambiguous.append(self._prefix_logprob + logprob)

    def _add_upper_bounds(self, eliminated: list[str], step: TokenLogprobs) -> None:
        """Give the options that are out of the race, and were not seen, all they can have."""
        values = [v for _, v in step.top] or [step.logprob]
        remaining_mass = 1.0 - sum(math.exp(min(v, 0.0)) for v in values)
        bound = min(*values, math.log(max(remaining_mass, 1e-9)))
        for option in eliminated:
            if not self._mass[option]:
                self._mass[option].append(self._prefix_logprob + bound)
                self._upper_bounded.append(option)

    def _matching_options(self, prefix: bytes) -> list[str]:
        """The options still possible after `said`."""
        text = prefix.decode("utf-8", "replace").lstrip().lower()
        return [o for o in self._candidates if _is_compatible(text, self._option_texts[o])]


def _is_compatible(text: str, option_text: str) -> bool:
    if option_text.startswith(text):
        return True
    return text.startswith(option_text) and not text[len(option_text)].isalnum()


def _label_start(answer: bytes, choice: ChoiceSlot, schema: Mapping[str, Any] | None) -> int | None:
    """Byte at which the label begins."""
    if key := _label_key(choice, schema):
        match = re.search(re.escape(json.dumps(key).encode()) + rb'\s*:\s*"', answer)
        if match:
            return match.end()
    lead = choice.prefix.strip().encode()
    at = answer.find(lead)
    return at + len(lead) if lead and at >= 0 else None


def _label_key(choice: ChoiceSlot, schema: Mapping[str, Any] | None) -> str | None:
    """The property of the schema that takes the options' words."""
    option_words = {o.strip() for o in choice.options}
    for name, inner in (schema or {}).get("properties", {}).items():
        if set(map(str, inner.get("enum", ()))) == option_words:
            return str(name)
    return None


def _logsumexp(values: Sequence[float]) -> float:
    maximum = max(values, default=-math.inf)
    if not math.isfinite(maximum):
        return maximum
    return maximum + math.log(sum(math.exp(v - maximum) for v in values))
