"""A model behind an OpenAI-shaped server: `http:URL#MODEL`, asked at `URL/chat/completions`.

The answer's JSON schema is sent as `response_format` (to vLLM with an adapter its slot, as a
regular expression), and label probabilities are read from the tokens' log-probabilities. What a
server refuses is left out from then on, and `notes` says so. A post's first question is asked
before its others, so that a server's prefix cache has what they share (`_ordering`).
Failures that may pass are tried again (`_calling`); an error's text never becomes an answer.

The key comes from the environment variable `api_key_variable`. It goes to the named host only (no
redirects), appears in no message, and is refused over plain http to another machine.
A proxy of the environment is used, except for this machine's own addresses.

    gen-msa explain posts.jsonl --reader http:http://127.0.0.1:8000/v1#Qwen/Qwen3-VL-8B-Instruct
"""

import asyncio
import functools
import hashlib
import ipaddress
import json
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
from anyio.from_thread import BlockingPortalProvider
from pydantic import BaseModel, JsonValue, ValidationError

from gen_msa import manifest, media, prefetch
from gen_msa.backends._openai_client import (
    PermanentError,
    RetryPolicy,
    TransientError,
    build_body,
    parse_reply,
    post_with_retries,
    to_completion,
    unsupported_params,
)
from gen_msa.backends._prefix_scheduler import PrefixScheduler
from gen_msa.backends.base import BackendOptions, backends, warn_ignored
from gen_msa.chat import Chat, Completion, ImageInput, Request
from gen_msa.errors import UserError
from gen_msa.jsonl import format_validation_error

# How an adapter wants to be read, from its folder alone: for one whose server holds the weights.

ADAPTER_SETTINGS_FILE = "inference.json"


class AdapterSettings(BaseModel):
    """The part of `backends.local.adapters.AdapterFacts` that a client can hold to."""

    prompts: dict[str, str]
    inference: dict[str, JsonValue]
    revision: str = ""
    """16 hex digits over the folder's list of hashes."""


def load_adapter_settings(folder: str) -> AdapterSettings:
    """What `inference.json` says, the folder's seal checked. Raises `UserError` without one."""
    path = Path(folder).expanduser()
    try:
        settings = AdapterSettings.model_validate_json((path / ADAPTER_SETTINGS_FILE).read_bytes())
        manifest.verify(path)
        digest = hashlib.sha256((path / manifest.MANIFEST_NAME).read_bytes()).hexdigest()
    except OSError as e:
        raise UserError(
            f"backend.adapter={folder}: {e}", hint="name the folder that training left"
        ) from None
    except ValidationError as e:
        raise UserError(f"{path / ADAPTER_SETTINGS_FILE}: {format_validation_error(e)}") from None
    return settings.model_copy(update={"revision": digest[:16]})


_SUPPORTED_OPTIONS = {"batch_size", "timeout", "retries", "api_key_variable"} | {
    "share_prefix",
    "adapter",
    "slots",
}
_ENDPOINT = "/chat/completions"
_BAD_REQUEST = (400, 422)

T = TypeVar("T")


@backends.register
class HttpBackend:
    """A client of one model on one server. What pictures it can see, only the server knows."""

    supports_images = True
    can_list_aspects = True
    samples = True
    is_concurrent = True

    def __init__(
        self,
        target: str,
        options: BackendOptions,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        data_url: Callable[[ImageInput], str] = media.data_url,
    ) -> None:
        """Raises `UserError` for a target or key that cannot be used. Asks the server nothing."""
        warn_ignored("http", options, _SUPPORTED_OPTIONS)
        address, self._model = _parse_target(target)
        self._headers = _headers(address, options.api_key_variable)
        self._url = f"{address}{_ENDPOINT}"
        self._max_in_flight = max(options.batch_size, 1)
        self._retry_policy = RetryPolicy(options.timeout, max(options.retries, 0), sleep=sleep)
        self._data_url = functools.lru_cache(maxsize=64)(data_url)
        """A picture is encoded once for all questions about it."""
        self._unsupported: frozenset[str] = frozenset()
        """What the server has shown that it does not take."""
        self._trust_environment = not _is_loopback(address)
        # One for all calls, also where none is needed: a client would make its own, in 18 ms.
        self._tls = ssl.create_default_context()
        # One event loop in a thread while somebody asks: calls meet in it without locks.
        self._portal = BlockingPortalProvider()
        self._scheduler = PrefixScheduler(self._max_in_flight, share=options.share_prefix)
        self.training_metadata: AdapterSettings | None = (
            load_adapter_settings(options.adapter) if options.adapter else None
        )
        """How the server's adapter was trained, if its folder was named."""
        self._slots = (
            options.slots if options.slots is not None else self.training_metadata is not None
        )
        adapter_suffix = f"@{self.training_metadata.revision}" if self.training_metadata else ""
        self.revision = f"{address}#{self._model}{adapter_suffix}"

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order.

        Callers in other threads may ask meanwhile: of all together at most `batch_size` requests
        are in flight, an earlier call's first.
        """
        with self._portal as portal:
            return prefetch.awaited(portal.start_task_soon(self._complete_all, requests))

    def count_tokens(self, chat: Chat) -> None:
        """None: only the server knows."""

    async def _complete_all(self, requests: Sequence[Request]) -> list[Completion]:
        completions: dict[int, Completion] = {}
        limits = httpx.Limits(max_connections=self._max_in_flight)
        async with httpx.AsyncClient(
            verify=self._tls,
            timeout=self._retry_policy.timeout,
            limits=limits,
            follow_redirects=False,
            trust_env=self._trust_environment,
        ) as client:

            async def send(i: int) -> None:
                completions[i] = await self._complete_one(client, requests[i])

            await self._scheduler.run(requests, send)
        return [completions[i] for i in range(len(requests))]

    async def _complete_one(self, client: httpx.AsyncClient, request: Request) -> Completion:
        try:
            return await self._send_request(client, request)
        except TransientError as e:
            return _error_completion(f"{e} (tried {self._retry_policy.retries + 1} times)")
        except (PermanentError, media.ImageError, OSError, ValueError) as e:
            return _error_completion(str(e) or type(e).__name__)

    async def _send_request(self, client: httpx.AsyncClient, request: Request) -> Completion:
        """Ask, and ask again without what the server refuses; learn that only if it helped."""
        omitted = self._unsupported
        while True:
            # In a thread: pictures are decoded here, and other answers need not wait for that.
            run = asyncio.to_thread if request.chat.images else _run_inline
            build_payload = functools.partial(build_body, slots=self._slots)
            payload, n_escaped = await run(
                build_payload, request, self._model, omitted, self._image_part
            )
            raw = json.dumps(payload).encode()
            try:
                reply = await post_with_retries(
                    client, self._url, raw, self._headers, self._retry_policy, parse_reply
                )
            except PermanentError as e:
                unsupported = (
                    unsupported_params(e.body, payload, omitted)
                    if e.status in _BAD_REQUEST
                    else set()
                )
                if not unsupported:
                    raise
                omitted |= unsupported
                continue
            self._unsupported |= omitted
            done = to_completion(reply, request, payload, self._model)
            notes = {"neutralised": str(n_escaped)} if n_escaped else {}
            if omitted:
                notes["server_without"] = ", ".join(sorted(omitted))
            return done.model_copy(update={"notes": done.notes | notes})

    def _image_part(self, image: ImageInput) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": self._data_url(image)}}


def _error_completion(reason: str) -> Completion:
    return Completion(text="", finish_reason="error", error=reason, notes={"form": "free"})


async def _run_inline(function: Callable[..., T], *arguments: Any) -> T:
    return function(*arguments)


def _parse_target(target: str) -> tuple[str, str]:
    """URL without a slash at the end, and model. Raises `UserError`."""
    text, _, model = target.partition("#")
    hint = "write http:URL#MODEL, e.g. http:http://127.0.0.1:8000/v1#my-model"
    if not model:
        raise UserError("the http reader names no model", hint=hint)
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as e:
        raise UserError(f"the http reader's URL cannot be read: {e}", hint=hint) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise UserError(f"{text!r} is no http or https URL", hint=hint)
    if url.userinfo or url.query:
        # Not shown: what stands there is likely a secret, and the URL becomes part of the revision.
        raise UserError(
            f"the URL of {url.host} holds a password or a query",
            hint="put the key into the environment variable named by backend.api_key_variable",
        )
    return text.rstrip("/").removesuffix(_ENDPOINT), model


def _headers(address: str, variable: str) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    key = os.environ.get(variable, "") if variable else ""
    if not key:
        return headers
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise UserError(f"the key in {variable} holds blanks or signs that no key has")
    if httpx.URL(address).scheme == "http" and not _is_loopback(address):
        raise UserError(
            f"the key in {variable} would cross the network in clear text",
            hint="use https, or set backend.api_key_variable= (empty) for a server without a key",
        )
    return headers | {"Authorization": f"Bearer {key}"}


def _is_loopback(address: str) -> bool:
    host = httpx.URL(address).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
