"""A model behind an OpenAI-compatible server: `http:URL#MODEL`, asked at `URL/chat/completions`.

The JSON schema is sent as `response_format` (to vLLM with an adapter the slot, as a regular
expression), and label probabilities are read from the tokens' log-probabilities. Parameters that a
server refuses are left out from then on, and `notes` says so. A post's first request is sent before
its others, so that the server's prefix cache has what they share (`_prefix_scheduler`). Transient
failures are retried (`_openai_client`); an error text never becomes an answer.

The key comes from the environment variable `api_key_variable`. It is sent to the named host only
(no redirects), appears in no message, and is never sent over plain http to another machine.
Nothing is sent to a host other than this machine that `send_to` does not name.
A proxy of the environment is used, except for this machine's own addresses.

    gen-msa explain posts.jsonl --model http:http://127.0.0.1:8000/v1#Qwen/Qwen3-VL-8B-Instruct
"""

import asyncio
import functools
import json
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
from anyio.from_thread import BlockingPortalProvider
from pydantic import BaseModel, JsonValue

from gen_msa import manifest, media, prefetch
from gen_msa.backends._budget import Budget, LimitReached, most_prompt_tokens
from gen_msa.backends._http_call import (
    PermanentError,
    RetryPolicy,
    TransientError,
    post_with_retries,
)
from gen_msa.backends._openai_client import (
    build_body,
    parse_reply,
    to_completion,
    unsupported_params,
)
from gen_msa.backends._prefix_scheduler import PrefixScheduler
from gen_msa.backends.base import BackendOptions, backends, warn_ignored
from gen_msa.chat import Chat, Completion, ImageInput, Request
from gen_msa.errors import UserError, user_errors
from gen_msa.hosts import is_permitted, is_this_machine

ADAPTER_SETTINGS_FILE = "inference.json"


class AdapterSettings(BaseModel):
    """The part of `backends.hf.adapters.AdapterMetadata` that a client can honour."""

    prompts: dict[str, str]
    inference: dict[str, JsonValue]
    revision: str = ""
    """16 hex digits of a hash over the folder's manifest."""


def load_adapter_settings(folder: str) -> AdapterSettings:
    """Load an adapter's `inference.json` and verify the folder's manifest.

    Args:
        folder: The adapter's folder.

    Returns:
        Prompts, settings and revision.

    Raises:
        UserError: The folder has no valid `inference.json` or no manifest that matches.
    """
    path = Path(folder).expanduser()
    hint = "name the adapter folder that training wrote"
    with user_errors(f"backend.adapter={folder}: {ADAPTER_SETTINGS_FILE}", hint=hint):
        settings = AdapterSettings.model_validate_json((path / ADAPTER_SETTINGS_FILE).read_bytes())
    manifest.verify(path)
    digest = manifest.sha256(path / manifest.MANIFEST_NAME)
    return settings.model_copy(update={"revision": digest[:16]})


_SUPPORTED_OPTIONS = {"batch_size", "timeout", "retries", "api_key_variable"} | {
    "share_prefix",
    "adapter",
    "slots",
    "send_to",
    "prices",
    "max_tokens_total",
    "max_cost",
}
_ENDPOINT = "/chat/completions"
_BAD_REQUEST = (400, 422)

T = TypeVar("T")


@backends.register
class HttpBackend:
    """A client of one model on one server. Whether the model takes images is not known here."""

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
        """Check target and key; no request is sent.

        Args:
            target: `URL#MODEL`.
            options: Options common to all backends.
            sleep: Waits between retries.
            data_url: Encodes an image.

        Raises:
            UserError: Target, key or adapter folder cannot be used.
        """
        warn_ignored("http", options, _SUPPORTED_OPTIONS)
        address, self._model = _parse_target(target)
        self._headers = _headers(address, options.api_key_variable)
        self._url = f"{address}{_ENDPOINT}"
        self._max_in_flight = max(options.batch_size, 1)
        self._retry_policy = RetryPolicy(options.timeout, max(options.retries, 0), sleep=sleep)
        self._data_url = functools.lru_cache(maxsize=64)(data_url)
        """Encodes an image once for all requests about it."""
        self._unsupported: frozenset[str] = frozenset()
        """Parameters that the server is known to refuse."""
        self._host = httpx.URL(address).host
        self._may_send = is_permitted(self._host, options.send_to)
        self._trust_environment = not is_this_machine(self._host)
        # One for all calls, even without TLS: a client would create its own in 18 ms.
        self._tls = ssl.create_default_context()
        # One event loop in a thread while there are calls: they share it without locks.
        self._portal = BlockingPortalProvider()
        self._budget = Budget(options)
        self._scheduler = PrefixScheduler(self._max_in_flight, share=options.share_prefix)
        self.training_metadata: AdapterSettings | None = (
            load_adapter_settings(options.adapter) if options.adapter else None
        )
        """How the server's adapter was trained, if its folder was given."""
        self._slots = (
            options.slots if options.slots is not None else self.training_metadata is not None
        )
        adapter_suffix = f"@{self.training_metadata.revision}" if self.training_metadata else ""
        self.revision = f"{address}#{self._model}{adapter_suffix}"

    @staticmethod
    def remote_host(target: str) -> str:
        """Return the host that the requests of a target are sent to; "" for an invalid target."""
        try:
            return httpx.URL(target.partition("#")[0]).host
        except httpx.InvalidURL:
            return ""

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Complete requests.

        Several threads may call this at once: of all calls together at most `batch_size` requests
        are in flight, those of an earlier call first.

        Returns:
            One completion for each request, in order.

        Raises:
            UserError: The host is another machine, and `send_to` does not name it.
        """
        if not self._may_send:
            raise UserError(
                f"nothing was sent: {self._host} is not this machine",
                hint=f"allow it: the setting backend.send_to=[{self._host}]",
            )
        with self._portal as portal:
            return prefetch.awaited(portal.start_task_soon(self._complete_all, requests))

    def count_tokens(self, chat: Chat) -> None:
        """Return None: only the server can count."""

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
            if not self._budget.is_limited:
                return await self._send_request(client, request)
            most = most_prompt_tokens(request.chat), request.max_new_tokens
            async with self._budget.spend(*most) as bill:
                try:
                    completion = await self._send_request(client, request)
                except PermanentError as e:
                    if not e.status:  # an answer came, and is paid for
                        bill(0, 0)
                    raise
                bill(completion.prompt_tokens, completion.new_tokens)
                return completion
        except LimitReached as e:
            return _error_completion(str(e))
        except TransientError as e:
            return _error_completion(f"{e} (tried {self._retry_policy.retries + 1} times)")
        except (PermanentError, media.ImageError, OSError, ValueError) as e:
            return _error_completion(str(e) or type(e).__name__)

    async def _send_request(self, client: httpx.AsyncClient, request: Request) -> Completion:
        """Send, and again without what the server refuses; remember that only if it helped."""
        omitted = self._unsupported
        while True:
            # In a thread: decoding images must not delay the other requests.
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
                    unsupported_params(e.body, payload, omitted, e.status)
                    if e.status in _BAD_REQUEST or e.status == 403 or e.status >= 500
                    else set()
                )
                if not unsupported:
                    raise
                omitted |= unsupported
                continue
            self._unsupported |= omitted
            completion = to_completion(reply, request, payload, self._model)
            notes = {"escaped_control_tokens": str(n_escaped)} if n_escaped else {}
            if omitted:
                notes["server_without"] = ", ".join(sorted(omitted))
            return completion.model_copy(update={"notes": completion.notes | notes})

    def _image_part(self, image: ImageInput) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": self._data_url(image)}}


def _error_completion(reason: str) -> Completion:
    return Completion(text="", finish_reason="error", error=reason, notes={"form": "free"})


async def _run_inline(function: Callable[..., T], *arguments: Any) -> T:
    return function(*arguments)


def _parse_target(target: str) -> tuple[str, str]:
    """Split the target into URL, without a slash at the end, and model."""
    text, _, model = target.partition("#")
    hint = "write http:URL#MODEL, e.g. http:http://127.0.0.1:8000/v1#my-model"
    if not model:
        raise UserError("the http backend needs the name of a model", hint=hint)
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as e:
        raise UserError(f"the URL of the http backend is invalid: {e}", hint=hint) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise UserError(f"{text!r} is not an http or https URL", hint=hint)
    if url.userinfo or url.query:
        # Not printed: it may be a secret, and the URL becomes part of the revision.
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
        raise UserError(f"the key in {variable} contains blanks or characters that no key has")
    url = httpx.URL(address)
    if url.scheme == "http" and not is_this_machine(url.host):
        raise UserError(
            f"the key in {variable} would be sent over the network in clear text",
            hint="use https, or set backend.api_key_variable= (empty) for a server without a key",
        )
    return headers | {"Authorization": f"Bearer {key}"}
