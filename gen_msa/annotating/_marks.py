"""What `Opinion.how` says of an answer's way through the gates, written and read in one place.

    accepted    gates: "naming, length"   attempt: "2"   teacher: "…"
    refused     failed.length: "75 words, at most 60"    gates: "naming"   attempt: "1"

Knows nothing of gates themselves.
"""

from collections.abc import Mapping

from gen_msa.annotating._steering import TOKENS
from gen_msa.types import Opinion, Status

ANSWER_FILTER = "answer"
"""The gate that no settings switch off: an answer was given and read whole."""
_FAILED = "failed."
_PASSED = "gates"
_ATTEMPT = "attempt"
_VERDICT_KEYS = (_PASSED, _ATTEMPT, "teacher")


def invalid_reason(opinion: Opinion) -> str | None:
    """Why an answer is none that anybody could learn from; None: it was read whole."""
    if opinion.status not in (Status.OK, Status.REPARSED):
        error = opinion.provenance.get("error") or opinion.provenance.get("recorded") or "no label"
        return f"{opinion.status}: {error}"
    if opinion.polarity is None:
        return "it has no label"
    if opinion.provenance.get("explanation") == "cut":
        return "length: the reason was cut at the token limit"
    return None


def with_verdicts(
    opinion: Opinion, verdicts: Mapping[str, str | None], attempt: int, teacher: str
) -> Opinion:
    """The opinion with its way through the gates in `how`; marks of an earlier job are gone."""
    provenance = {k: v for k, v in opinion.provenance.items() if k not in _VERDICT_KEYS and not k.startswith(_FAILED)}
    passed = ", ".join(name for name, reason in verdicts.items() if reason is None)
    provenance |= {"teacher": teacher, _ATTEMPT: str(attempt), _PASSED: passed}
    provenance |= {_FAILED + name: reason for name, reason in verdicts.items() if reason is not None}
    return opinion.model_copy(update={"how": provenance})


def with_file_verdicts(opinion: Opinion, verdicts: Mapping[str, str | None]) -> Opinion:
    """An opinion that had passed, with the verdicts of gates that look at the whole file."""
    passed = [opinion.provenance.get(_PASSED, ""), *(n for n, reason in verdicts.items() if reason is None)]
    provenance = {**opinion.provenance, _PASSED: ", ".join(p for p in passed if p)}
    provenance |= {_FAILED + name: reason for name, reason in verdicts.items() if reason is not None}
    return opinion.model_copy(update={"how": provenance})


def failed_filters(opinion: Opinion) -> dict[str, str]:
    """Gate -> why it refused the opinion; empty: it passed all it was shown to."""
    prefix_length = len(_FAILED)
    return {k[prefix_length:]: reason for k, reason in opinion.provenance.items() if k.startswith(_FAILED)}


def passed_filters(opinion: Opinion) -> list[str]:
    """The gates that let the opinion pass."""
    names = opinion.provenance.get(_PASSED, "")
    return names.split(", ") if names else []


def attempt_number(opinion: Opinion) -> int:
    """Which time of asking this is the answer of, from 1."""
    return int(opinion.provenance.get(_ATTEMPT, "1"))


def token_counts(opinion: Opinion) -> tuple[int, int] | None:
    """Tokens of the question and of the answer; None where nobody counted."""
    prompt_tokens, plus, answer_tokens = opinion.provenance.get(TOKENS, "").partition("+")
    return (int(prompt_tokens), int(answer_tokens)) if plus else None
