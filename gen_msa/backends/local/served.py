"""The proof of an adapter that another engine holds: the recorded probe, asked from outside.

An engine gives only the likeliest next tokens, and the prompt's tokens as it made them. That is
enough: the prompt must be the one of training to the token, every score that was recorded must come
back, and the adapter must change something. Knows no engine and no network.

    facts, notes = told(model, adapter)
    check(adapter, facts.probe, adapted=Heard(ids, scores), base=Heard(ids, others), now="bfloat16")
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gen_msa.backends.local import adapters, probe, weights
from gen_msa.backends.local.adapters import AdapterFacts
from gen_msa.backends.local.probe import Probe
from gen_msa.errors import UserError


class Heard(NamedTuple):
    """What an engine said to the probe."""

    ids: tuple[int, ...]
    """The prompt's tokens, pictures expanded; empty where the engine does not tell."""
    scores: Mapping[int, float]
    """Log-probability (nats) of the likeliest next tokens, by id."""


class Question(NamedTuple):
    """The probe's words and its picture (PIL, RGB), None for a model without eyes."""

    text: str
    picture: Any | None


def question(recorded: Probe | None) -> Question:
    """What to ask: as recorded, or the usual words where nothing was."""
    text = recorded.text if recorded else probe.TEXT
    return Question(text, probe.drawn() if recorded and recorded.pictured else None)


def told(model: Path, adapter: Path | None) -> tuple[AdapterFacts | None, dict[str, str]]:
    """What the adapter's folder (or a fine-tuned model's own) says, files, base, template checked.

    The notes say what could not be. Raises `UserError`, with a mend, for what does not fit.
    """
    facts = adapters.read(adapter or model)
    if adapter is None:
        if facts is not None:
            adapters.check_template(facts, weights.processor(model), model)
        return facts, {}
    if facts is None:
        return adapters.verify(adapter, None, "")
    return adapters.verify(adapter, weights.processor(model), weights.base_hash(model))


def check(
    folder: Path, recorded: Probe | None, *, adapted: Heard, base: Heard | None, now: str
) -> None:
    """Refuse, with `UserError`, an engine whose answers are not those of training.

    `base`: the same engine without the adapter; None for a model that wears none. `now` is the
    precision it computes in, one of `probe.TOLERANCE`.
    """
    if base is not None and not _effect(adapted, base) > probe.NOTHING:
        raise UserError(
            f"the adapter in {folder} changes nothing: the engine answers as without it",
            mend="train it, or see in the engine's log which of its layers were passed over",
        )
    if recorded is None:
        return
    try:
        _same(recorded, adapted, base, now)
    except ValueError as e:
        mend = "serve the base it was trained on, with that base's processor and template"
        raise UserError(f"{folder}: {e}", mend=mend) from None


def _effect(adapted: Heard, base: Heard) -> float:
    """Largest change (nats) of a score; infinite where other tokens are the likeliest."""
    if adapted.scores.keys() != base.scores.keys():
        return float("inf")
    return max((abs(v - base.scores[i]) for i, v in adapted.scores.items()), default=0.0)


def _same(recorded: Probe, adapted: Heard, base: Heard | None, now: str) -> None:
    if adapted.ids and adapted.ids != recorded.ids:
        raise ValueError(
            f"the engine makes {len(adapted.ids)} other tokens of the probe than the "
            f"{len(recorded.ids)} of training"
        )
    tolerance = max(
        probe.TOLERANCE.get(p, probe.TOLERANCE["nf4"]) for p in (recorded.precision, now)
    )
    pairs = zip(recorded.adapted, recorded.base, strict=False)
    done = max((abs(a - b) for a, b in pairs), default=0.0)
    rounded = tolerance if now == recorded.precision else max(tolerance, probe.ROUNDED * done)
    for name, then, heard, most in (
        ("the base model", recorded.base, base, tolerance),
        ("the adapted model", recorded.adapted, adapted, rounded),
    ):
        if not then or heard is None:
            continue
        off = max(_off(t, was, heard) for t, was in zip(recorded.tokens, then, strict=True))
        if not off <= most:
            raise ValueError(
                f"{name} scores the probe otherwise than in training: off by {off:.3g} nats, "
                f"{most:g} are allowed ({recorded.precision} then, {now} now)"
            )


def _off(token: int, was: float, heard: Heard) -> float:
    """Nats between then and now; for a token that is not among the likeliest, at least so many."""
    if token in heard.scores:
        return abs(heard.scores[token] - was)
    return max(was - min(heard.scores.values(), default=float("-inf")), 0.0)
