"""Asks a running server what its adapter does, before clients rely on it.

The probe that training recorded goes through the server's own chat template, processor and adapter,
and comes back as tokens and scores. Knows nothing of processes.

    probe(client, found, now="bfloat16")
"""

import base64
import io
from typing import Any

import httpx

from gen_msa.backends.vllm_engine import SEED, WATCHED
from gen_msa.errors import UserError
from gen_msa.serving.vllm.finding import Found


def probe(client: httpx.Client, found: Found, *, now: str) -> dict[str, str]:
    """What was checked, in words. Raises `UserError` when the server is not what was trained.

    `client` knows the server's address and key; `now` is the precision it computes in.
    """
    from gen_msa.backends.local import served

    recorded = found.facts.probe if found.facts else None
    if found.adapter is None and recorded is None:
        return {"probe": "none: a bare model has nothing to compare with"}
    asked = served.question(recorded)
    adapted = served.Heard(*_scores(client, found.names[0], *asked))
    worn = found.adapter is not None
    base = served.Heard(*_scores(client, found.names[-1], *asked)) if worn else None
    folder = found.adapter or found.model
    served.check(folder, recorded, adapted=adapted, base=base, now=now)
    if recorded is None:
        return {"probe": "the adapter has an effect; no recorded one to compare with"}
    return {"probe": "the server answers as training did"}


def _scores(
    client: httpx.Client, model: str, text: str, picture: Any | None
) -> tuple[tuple[int, ...], dict[int, float]]:
    """The prompt's tokens, and log-probabilities (nats) of the likeliest tokens after it."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": _content(text, picture)}],
        "max_tokens": 1,
        "temperature": 0.0,
        "seed": SEED,
        "logprobs": True,
        "top_logprobs": WATCHED,
        "return_tokens_as_token_ids": True,
        "return_token_ids": True,
    }
    try:
        reply = client.post("/v1/chat/completions", json=body)
        reply.raise_for_status()
        said = reply.json()
        likely = said["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        scores = {int(x["token"].removeprefix("token_id:")): float(x["logprob"]) for x in likely}
        return tuple(map(int, said.get("prompt_token_ids") or ())), scores
    except (httpx.HTTPError, KeyError, IndexError, TypeError, ValueError) as e:
        words = getattr(getattr(e, "response", None), "text", "")[:300]
        raise UserError(
            f"the server cannot be asked for the probe of {model}: {type(e).__name__} {words}",
            mend="see its log above; vLLM 0.20 or later is needed",
        ) from None


def _content(text: str, picture: Any | None) -> str | list[dict[str, Any]]:
    if picture is None:
        return text
    out = io.BytesIO()
    picture.save(out, "PNG")
    url = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
    return [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
