"""Log-probabilities of a slot's options, from the tokens of an answer that was generated freely.

The label is located behind its key in JSON, or behind the slot's prefix; from there the tokens are
followed until only one option is left, and the alternative tokens of each step count for the
options
that they begin.

    steps = [
        TokenLogprobs(b'{"label":"', 0.0, ()),
        TokenLogprobs(b"good", -0.1, ((b"good", -0.1), (b"bad", -2.4))),
    ]
    option_logprobs(steps, choice, schema)  # ({"good": -0.1, "bad": -2.4}, "")
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gen_msa.chat import ChoiceSlot

_SPECIAL_CHARS = re.compile(r"[\\^$.*+?{}\[\]()|]")


def slot_pattern(choice: ChoiceSlot) -> str:
    """Return a regular expression for the answer: prefix, one option, suffix, any text."""
    options = "|".join(_escape(o) for o in choice.options)
    end = _escape(choice.suffix) + r"[\s\S]*" if choice.suffix else ""
    return f"{_escape(choice.prefix)}({options}){end}"


def matches_slot(choice: ChoiceSlot, text: str) -> bool:
    """Check whether an answer fills the slot.

    Args:
        choice: The slot.
        text: The answer.

    Returns:
        Whether `text` begins with the prefix and one of the options.
    """
    return text.startswith(tuple(choice.prefix + option for option in choice.options))


def _escape(text: str) -> str:
    """Escape `text`; not `re.escape`, because the engine's own parser knows fewer escapes."""
    return _SPECIAL_CHARS.sub(lambda m: "\\" + m.group(), text)


_MAX_AMBIGUOUS_SHARE = 0.01
"""Largest share of the mass on tokens that begin several options, but not all."""
_MIN_LOGPROB = -1e4


class TokenLogprobs(NamedTuple):
    """One token of an answer, and the likeliest tokens at its position, itself included."""

    token: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...]


def option_logprobs(
    steps: Sequence[TokenLogprobs], choice: ChoiceSlot, schema: Mapping[str, Any] | None
) -> tuple[dict[str, float] | None, str]:
    """Compute the log-probability of each option from an answer's tokens.

    It is that of the tokens up to where the option is the only one possible. An option that is not
    among the likeliest tokens gets its upper bound, and the note names it.

    Args:
        steps: Tokens of the answer with their alternatives.
        choice: The slot.
        schema: JSON schema of the answer; None when the answer has the slot's own form.

    Returns:
        Log-probability (nats) of each option, or None; and a note on how exact it is ("" for
            exact).
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
    """Follows the label's tokens and collects the probability mass of each option."""

    def __init__(self, choice: ChoiceSlot) -> None:
        self._option_texts = {o: o.strip().lower() for o in choice.options}
        self._mass: dict[str, list[float]] = {o: [] for o in choice.options}
        self._candidates = list(choice.options)
        self._ambiguous: list[float] = []
        self._upper_bounded: list[str] = []
        self._consumed = b""
        self._prefix_logprob = 0.0

    def advance(self, step: TokenLogprobs, n_prefix_bytes: int) -> bool:
        """Consume one token.

        Args:
            step: The token and its alternatives.
            n_prefix_bytes: Leading bytes of the token that precede the label.

        Returns:
            Whether more than one option is still possible.
        """
        prefix = step.token[:n_prefix_bytes]
        for token, logprob in step.top:
            if token != step.token and token.startswith(prefix):
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
        """Return the result of `option_logprobs`; None when too much mass is ambiguous."""
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
            # A token that begins every option (a blank, a quote) favours none and is skipped.
            self._ambiguous.append(self._prefix_logprob + logprob)

    def _add_upper_bounds(self, eliminated: list[str], step: TokenLogprobs) -> None:
        """Give options that are ruled out, and have no mass yet, their upper bound."""
        values = [v for _, v in step.top] or [step.logprob]
        remaining_mass = 1.0 - sum(math.exp(min(v, 0.0)) for v in values)
        bound = min(*values, math.log(max(remaining_mass, 1e-9)))
        for option in eliminated:
            if not self._mass[option]:
                self._mass[option].append(self._prefix_logprob + bound)
                self._upper_bounded.append(option)

    def _matching_options(self, prefix: bytes) -> list[str]:
        """Return the options still possible after `prefix`."""
        text = prefix.decode("utf-8", "replace").lstrip().lower()
        return [o for o in self._candidates if _is_compatible(text, self._option_texts[o])]


def _is_compatible(text: str, option_text: str) -> bool:
    if option_text.startswith(text):
        return True
    return text.startswith(option_text) and not text[len(option_text)].isalnum()


def _label_start(answer: bytes, choice: ChoiceSlot, schema: Mapping[str, Any] | None) -> int | None:
    """Return the byte offset at which the label begins; None if there is none."""
    if key := _label_key(choice, schema):
        match = re.search(re.escape(json.dumps(key).encode()) + rb'\s*:\s*"', answer)
        if match:
            return match.end()
    prefix = choice.prefix.strip().encode()
    at = answer.find(prefix)
    return at + len(prefix) if prefix and at >= 0 else None


def _label_key(choice: ChoiceSlot, schema: Mapping[str, Any] | None) -> str | None:
    """Return the property of the schema whose values are the options."""
    options = {o.strip() for o in choice.options}
    for name, inner in (schema or {}).get("properties", {}).items():
        if set(map(str, inner.get("enum", ()))) == options:
            return str(name)
    return None


def _logsumexp(values: Sequence[float]) -> float:
    maximum = max(values, default=-math.inf)
    if not math.isfinite(maximum):
        return maximum
    return maximum + math.log(sum(math.exp(v - maximum) for v in values))
