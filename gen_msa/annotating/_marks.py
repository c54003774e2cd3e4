"""What `Opinion.how` says of an answer's way through the gates, written and read in one place.

    accepted    gates: "naming, length"   attempt: "2"   teacher: "…"
    refused     failed.length: "75 words, at most 60"    gates: "naming"   attempt: "1"

Knows nothing of gates themselves.
"""

from collections.abc import Mapping

from gen_msa.annotating._steering import TOKENS
from gen_msa.types import Opinion, Status

ANSWER = "answer"
"""The gate that no settings switch off: an answer was given and read whole."""
_FAILED = "failed."
_PASSED = "gates"
_ATTEMPT = "attempt"
_OWN = (_PASSED, _ATTEMPT, "teacher")


def unread(opinion: Opinion) -> str | None:
    """Why an answer is none that anybody could learn from; None: it was read whole."""
    if opinion.status not in (Status.OK, Status.REPARSED):
        why = opinion.how.get("error") or opinion.how.get("recorded") or "no label"
        return f"{opinion.status}: {why}"
    if opinion.polarity is None:
        return "it has no label"
    if opinion.how.get("explanation") == "cut":
        return "length: the reason was cut at the token limit"
    return None


def marked(
    opinion: Opinion, verdicts: Mapping[str, str | None], attempt: int, teacher: str
) -> Opinion:
    """The opinion with its way through the gates in `how`; marks of an earlier job are gone."""
    how = {k: v for k, v in opinion.how.items() if k not in _OWN and not k.startswith(_FAILED)}
    passed = ", ".join(name for name, why in verdicts.items() if why is None)
    how |= {"teacher": teacher, _ATTEMPT: str(attempt), _PASSED: passed}
    how |= {_FAILED + name: why for name, why in verdicts.items() if why is not None}
    return opinion.model_copy(update={"how": how})


def refused_later(opinion: Opinion, verdicts: Mapping[str, str | None]) -> Opinion:
    """An opinion that had passed, with the verdicts of gates that look at the whole file."""
    passed = [opinion.how.get(_PASSED, ""), *(n for n, why in verdicts.items() if why is None)]
    how = {**opinion.how, _PASSED: ", ".join(p for p in passed if p)}
    how |= {_FAILED + name: why for name, why in verdicts.items() if why is not None}
    return opinion.model_copy(update={"how": how})


def failures(opinion: Opinion) -> dict[str, str]:
    """Gate -> why it refused the opinion; empty: it passed all it was shown to."""
    cut = len(_FAILED)
    return {k[cut:]: why for k, why in opinion.how.items() if k.startswith(_FAILED)}


def passes(opinion: Opinion) -> list[str]:
    """The gates that let the opinion pass."""
    said = opinion.how.get(_PASSED, "")
    return said.split(", ") if said else []


def attempt(opinion: Opinion) -> int:
    """Which time of asking this is the answer of, from 1."""
    return int(opinion.how.get(_ATTEMPT, "1"))


def tokens(opinion: Opinion) -> tuple[int, int] | None:
    """Tokens of the question and of the answer; None where nobody counted."""
    read, plus, written = opinion.how.get(TOKENS, "").partition("+")
    return (int(read), int(written)) if plus else None
