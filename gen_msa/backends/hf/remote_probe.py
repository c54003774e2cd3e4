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

from gen_msa.backends.hf import adapters, probe, weights
from gen_msa.backends.hf.adapters import AdapterMetadata
from gen_msa.backends.hf.probe import AdapterProbe
from gen_msa.errors import UserError


class ProbeResponse(NamedTuple):
    """What an engine said to the probe."""

    ids: tuple[int, ...]
    """The prompt's tokens, pictures expanded; empty where the engine does not tell."""
    scores: Mapping[int, float]
    """Log-probability (nats) of the likeliest next tokens, by id."""


class ProbeQuestion(NamedTuple):
    """The probe's words and its picture (PIL, RGB), None for a model without eyes."""

    text: str
    image: Any | None


def probe_question(recorded_probe: AdapterProbe | None) -> ProbeQuestion:
    """What to ask: as recorded, or the usual words where nothing was."""
    text = recorded_probe.text if recorded_probe else probe.PROBE_TEXT
    return ProbeQuestion(
        text, probe.probe_image() if recorded_probe and recorded_probe.with_image else None
    )


def load_verified_metadata(
    model: Path, adapter: Path | None
) -> tuple[AdapterMetadata | None, dict[str, str]]:
    """What the adapter's folder (or a fine-tuned model's own) says, files, base, template checked.

    The notes say what could not be. Raises `UserError`, with a mend, for what does not fit.
    """
    metadata = adapters.read_metadata(adapter or model)
    if adapter is None:
        if metadata is not None:
            adapters.check_template(metadata, weights.load_processor(model), model)
        return metadata, {}
    if metadata is None:
        return adapters.verify_adapter_files(adapter, None, "")
    return adapters.verify_adapter_files(
        adapter, weights.load_processor(model), weights.base_hash(model)
    )


def check_remote_probe(
    folder: Path,
    recorded_probe: AdapterProbe | None,
    *,
    adapted: ProbeResponse,
    base: ProbeResponse | None,
    precision: str,
) -> None:
    """Refuse, with `UserError`, an engine whose answers are not those of training.

    `base`: the same engine without the adapter; None for a model that wears none. `now` is the
    precision it computes in, one of `probe.TOLERANCE`.
    """
    if base is not None and not _adapter_effect(adapted, base) > probe.NO_EFFECT:
        raise UserError(
            f"the adapter in {folder} changes nothing: the engine answers as without it",
            hint="train it, or see in the engine's log which of its layers were passed over",
        )
    if recorded_probe is None:
        return
    try:
        _compare_with_recorded(recorded_probe, adapted, base, precision)
    except ValueError as e:
        hint = "serve the base it was trained on, with that base's processor and template"
        raise UserError(f"{folder}: {e}", hint=hint) from None


def _adapter_effect(adapted: ProbeResponse, base: ProbeResponse) -> float:
    """Largest change (nats) of a score; infinite where other tokens are the likeliest."""
    if adapted.scores.keys() != base.scores.keys():
        return float("inf")
    return max((abs(v - base.scores[i]) for i, v in adapted.scores.items()), default=0.0)


def _compare_with_recorded(
    recorded_probe: AdapterProbe, adapted: ProbeResponse, base: ProbeResponse | None, precision: str
) -> None:
    if adapted.ids and adapted.ids != recorded_probe.ids:
        raise ValueError(
            f"the engine makes {len(adapted.ids)} other tokens of the probe than the "
            f"{len(recorded_probe.ids)} of training"
        )
    tolerance = max(
        probe.TOLERANCE.get(p, probe.TOLERANCE["nf4"])
        for p in (recorded_probe.precision, precision)
    )
    pairs = zip(recorded_probe.adapted, recorded_probe.base, strict=False)
    adapter_change = max((abs(a - b) for a, b in pairs), default=0.0)
    rounded_tolerance = (
        tolerance
        if precision == recorded_probe.precision
        else max(tolerance, probe.ROUNDING_SHARE * adapter_change)
    )
    for name, recorded_scores, response, allowed in (
        ("the base model", recorded_probe.base, base, tolerance),
        ("the adapted model", recorded_probe.adapted, adapted, rounded_tolerance),
    ):
        if not recorded_scores or response is None:
            continue
        difference = max(
            _score_difference(t, recorded_score, response)
            for t, recorded_score in zip(recorded_probe.tokens, recorded_scores, strict=True)
        )
        if not difference <= allowed:
            raise ValueError(
                f"{name} scores the probe otherwise than in training: off by {difference:.3g} nats, "
                f"{allowed:g} are allowed ({recorded_probe.precision} then, {precision} now)"
            )


def _score_difference(token: int, recorded_score: float, response: ProbeResponse) -> float:
    """Nats between then and now; for a token that is not among the likeliest, at least so many."""
    if token in response.scores:
        return abs(response.scores[token] - recorded_score)
    return max(recorded_score - min(response.scores.values(), default=float("-inf")), 0.0)
