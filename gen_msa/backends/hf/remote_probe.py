"""Verify an adapter that another engine holds, by asking it the recorded probe.

An engine returns only the likeliest next tokens, and the prompt's token ids. That is enough: the
prompt's tokens must be those of training, every recorded score must be reproduced, and the adapter
must have an effect.

    metadata, notes = load_verified_metadata(model, adapter)
    base = ProbeResponse(ids, base_scores)
    adapted = ProbeResponse(ids, scores)
    check_remote_probe(adapter, metadata.probe, adapted=adapted, base=base, precision="bfloat16")
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gen_msa.backends.hf import adapters, probe, weights
from gen_msa.backends.hf.adapters import AdapterMetadata
from gen_msa.backends.hf.probe import AdapterProbe
from gen_msa.errors import UserError


class ProbeResponse(NamedTuple):
    """An engine's answer to the probe."""

    ids: tuple[int, ...]
    """The prompt's token ids, images expanded; empty where the engine does not return them."""
    scores: Mapping[int, float]
    """Log-probability (nats) of the likeliest next tokens, by id."""


class ProbeQuestion(NamedTuple):
    """The probe's text and its image (PIL, RGB); None for a text-only model."""

    text: str
    image: Any | None


def probe_question(recorded_probe: AdapterProbe | None) -> ProbeQuestion:
    """Return the question: the recorded one, or the default text where nothing was recorded."""
    text = recorded_probe.text if recorded_probe else probe.PROBE_TEXT
    return ProbeQuestion(
        text, probe.probe_image() if recorded_probe and recorded_probe.with_image else None
    )


def load_verified_metadata(
    model: Path, adapter: Path | None
) -> tuple[AdapterMetadata | None, dict[str, str]]:
    """Read the metadata of an adapter, or of a fully fine-tuned model, after checking its files.

    Args:
        model: The model's folder.
        adapter: The adapter's folder; None for none.

    Returns:
        The metadata (None where there is none), and notes on what could not be checked.

    Raises:
        UserError: Files, base model or chat template differ from training.
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
    """Refuse an engine that does not answer as in training.

    Args:
        folder: The adapter's (or model's) folder, for the message.
        recorded_probe: Probe of the metadata; None if there is none, and then only the effect
            counts.
        adapted: Answer with the adapter.
        base: Answer of the same engine without it; None for a model without an adapter.
        precision: Precision the engine computes in, one of `probe.TOLERANCE`.

    Raises:
        UserError: The adapter has no effect, or tokens or scores differ from training.
    """
    if base is not None and not _adapter_effect(adapted, base) > probe.NO_EFFECT:
        raise UserError(
            f"the adapter in {folder} has no effect: the engine answers as without it",
            hint="train it, or look in the engine's log for layers that it ignored",
        )
    if recorded_probe is None:
        return
    try:
        _compare_with_recorded(recorded_probe, adapted, base, precision)
    except ValueError as e:
        hint = "serve the base model it was trained on, with its processor and template"
        raise UserError(f"{folder}: {e}", hint=hint) from None


def _adapter_effect(adapted: ProbeResponse, base: ProbeResponse) -> float:
    """Return the largest change (nats) of a score; infinite where the likeliest tokens differ."""
    if adapted.scores.keys() != base.scores.keys():
        return float("inf")
    return max((abs(v - base.scores[i]) for i, v in adapted.scores.items()), default=0.0)


def _compare_with_recorded(
    recorded_probe: AdapterProbe, adapted: ProbeResponse, base: ProbeResponse | None, precision: str
) -> None:
    if adapted.ids and adapted.ids != recorded_probe.ids:
        raise ValueError(
            f"the engine gives other tokens for the probe ({len(adapted.ids)}) than training "
            f"({len(recorded_probe.ids)})"
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
                f"{name} scores the probe differently than in training: "
                f"off by {difference:.3g} nats, {allowed:g} are allowed "
                f"({recorded_probe.precision} then, {precision} now)"
            )


def _score_difference(token: int, recorded_score: float, response: ProbeResponse) -> float:
    """Return the difference (nats) of a token's score.

    For a token that is not among the likeliest it is a lower bound.
    """
    if token in response.scores:
        return abs(response.scores[token] - recorded_score)
    return max(recorded_score - min(response.scores.values(), default=float("-inf")), 0.0)
