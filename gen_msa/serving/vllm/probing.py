"""Asks a running server what its adapter does, before clients rely on it.

The probe that training recorded goes through the server's own chat template, processor and adapter,
and comes back as tokens and scores. Knows nothing of processes.

    probe(client, found, now="bfloat16")
"""

import base64
import io
from typing import Any

import httpx

from gen_msa.backends.vllm_engine import SEED, MAX_LOGPROBS
from gen_msa.errors import UserError
from gen_msa.serving.vllm.finding import ResolvedModel


def verify_adapter(client: httpx.Client, resolved: ResolvedModel, *, precision: str) -> dict[str, str]:
    """What was checked, in words. Raises `UserError` when the server is not what was trained.

    `client` knows the server's address and key; `now` is the precision it computes in.
    """
    from gen_msa.backends.local import served

    recorded_probe = resolved.metadata.probe if resolved.metadata else None
    if resolved.adapter is None and recorded_probe is None:
        return {"probe": "none: a bare model has nothing to compare with"}
    question = served.probe_question(recorded_probe)
    adapted_response = served.ProbeResponse(*_query_scores(client, resolved.names[0], *question))
    has_adapter = resolved.adapter is not None
    base_response = served.ProbeResponse(*_query_scores(client, resolved.names[-1], *question)) if has_adapter else None
    folder = resolved.adapter or resolved.model
    served.check_remote_probe(folder, recorded_probe, adapted=adapted_response, base=base_response, precision=precision)
    if recorded_probe is None:
        return {"probe": "the adapter has an effect; no recorded one to compare with"}
    return {"probe": "the server answers as training did"}


def _query_scores(
    client: httpx.Client, model: str, text: str, image: Any | None
) -> tuple[tuple[int, ...], dict[int, float]]:
    """The prompt's tokens, and log-probabilities (nats) of the likeliest tokens after it."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": _message_content(text, image)}],
        "max_tokens": 1,
        "temperature": 0.0,
        "seed": SEED,
        "logprobs": True,
        "top_logprobs": MAX_LOGPROBS,
        "return_tokens_as_token_ids": True,
        "return_token_ids": True,
    }
    try:
        reply = client.post("/v1/chat/completions", json=body)
        reply.raise_for_status()
        payload = reply.json()
        top_logprobs = payload["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        scores = {int(x["token"].removeprefix("token_id:")): float(x["logprob"]) for x in top_logprobs}
        return tuple(map(int, payload.get("prompt_token_ids") or ())), scores
    except (httpx.HTTPError, KeyError, IndexError, TypeError, ValueError) as e:
        response_text = getattr(getattr(e, "response", None), "text", "")[:300]
        raise UserError(
            f"the server cannot be asked for the probe of {model}: {type(e).__name__} {response_text}",
            hint="see its log above; vLLM 0.20 or later is needed",
        ) from None


def _message_content(text: str, image: Any | None) -> str | list[dict[str, Any]]:
    if image is None:
        return text
    out = io.BytesIO()
    image.save(out, "PNG")
    url = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
    return [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
