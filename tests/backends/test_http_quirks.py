"""Answers and errors of servers other than OpenAI's: nothing whole is thrown away."""

import asyncio
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from gen_msa.backends import BackendOptions
from gen_msa.backends._http_call import (
    PermanentError,
    TransientError,
    _post,
    _retry_after,
    shorten,
)
from gen_msa.backends.http import HttpBackend
from gen_msa.chat import Chat, ChoiceSlot, Completion, Request, TextInput, Turn

WHOLE = 'Sentiment: positive\nExplanation: The post says "lovely".'
REQUEST = Request(
    chat=Chat(
        turns=(
            Turn(role="system", parts=(TextInput(text="Be brief."),)),
            Turn(role="user", parts=(TextInput(text="A lovely terrace"),)),
        )
    ),
    max_new_tokens=8,
    json_schema={"type": "object"},
    choice=ChoiceSlot(prefix="Sentiment:", options=(" positive", " negative"), suffix=""),
)


@contextmanager
def serve(reply: Any) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Run a server that answers with `reply(body)`: a status and JSON; yield URL and bodies."""
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            status, value = reply(bodies[-1])
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1#m", bodies
    finally:
        server.shutdown()
        server.server_close()


def choice(content: Any, reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content, **message}, "finish_reason": reason}]}


async def no_wait(_: float) -> None: ...


def ask(reply: Any) -> tuple[Completion, list[dict[str, Any]]]:
    with serve(reply) as (url, bodies):
        (completion,) = HttpBackend(url, BackendOptions(), sleep=no_wait).complete([REQUEST])
    return completion, bodies


@pytest.mark.parametrize(
    "reason",
    ["eos_token", "stop_sequence", "end_turn", "STOP", "", None, "tool_calls", "completed_oddly"],
)
def test_whole_answer_survives_any_finish_reason(reason: str | None) -> None:
    completion, bodies = ask(lambda _: (200, choice(WHOLE, reason)))
    assert (completion.text, completion.finish_reason, len(bodies)) == (WHOLE, "stop", 1)
    assert completion.notes.get("finish_reason") == (
        "completed_oddly" if reason == "completed_oddly" else None
    )


@pytest.mark.parametrize(
    "parts",
    [
        [{"type": "text", "text": WHOLE}],
        [
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
            {"type": "text", "text": WHOLE},
        ],
    ],
)
def test_content_in_parts_is_joined_without_thoughts(parts: list[Any]) -> None:
    assert ask(lambda _: (200, choice(parts)))[0].text == WHOLE


def test_arguments_of_a_tool_call_are_the_answer() -> None:
    arguments = '{"sentiment": "positive"}'
    calls = [{"function": {"name": "answer", "arguments": arguments}}]
    completion, _ = ask(lambda _: (200, choice(None, "tool_calls", tool_calls=calls)))
    assert completion.text == arguments


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "System role not supported"),
        (400, "Conversation roles must alternate user/assistant/user/assistant/..."),
        (500, "Value is not callable: null ... System role not supported"),
    ],
)
def test_refused_system_turn_moves_into_the_user_turn(status: int, message: str) -> None:
    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        if any(m["role"] == "system" for m in body["messages"]):
            return status, {"error": {"message": message}}
        return 200, choice(WHOLE)

    completion, bodies = ask(reply)
    assert completion.text == WHOLE
    assert bodies[-1]["messages"] == [{"role": "user", "content": "Be brief.\n\nA lovely terrace"}]
    assert completion.notes["server_without"] == "system"
    assert len(bodies) == 2


def test_smaller_limit_of_top_logprobs_is_learned() -> None:
    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        if body["top_logprobs"] > 5:
            return 400, {"error": {"message": "top_logprobs must be at most 5"}}
        return 200, choice(WHOLE)

    completion, bodies = ask(reply)
    assert (completion.text, bodies[-1]["top_logprobs"]) == (WHOLE, 5)


def test_forbidden_logprobs_are_left_out() -> None:
    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        if "logprobs" in body:
            return 403, {"error": {"message": "You are not allowed to request logprobs"}}
        return 200, choice(WHOLE)

    assert ask(reply)[0].text == WHOLE


def test_schema_named_in_a_server_error_is_left_out() -> None:
    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        if "response_format" in body:
            return 500, {"error": {"message": "failed to compile grammar: json_schema"}}
        return 200, choice(WHOLE)

    completion, bodies = ask(reply)
    assert completion.text == WHOLE
    assert len(bodies) <= 3


def test_other_refusals_are_final() -> None:
    completion, bodies = ask(lambda _: (403, {"error": {"message": "wrong key"}}))
    assert (completion.finish_reason, len(bodies)) == ("error", 1)
    completion, bodies = ask(lambda _: (429, {"error": {"code": "insufficient_quota"}}))
    assert (completion.finish_reason, len(bodies)) == ("error", 1)


def test_thoughts_that_use_up_the_budget_are_named() -> None:
    thoughts = {"reasoning_content": "Okay, the user asks"}
    completion, bodies = ask(lambda _: (200, choice(None, "length", **thoughts)))
    assert (completion.text, completion.finish_reason, len(bodies)) == ("", "length", 1)
    assert completion.notes["reasoning"] == "19 characters; raise max_new_tokens"


def test_answer_that_stands_only_in_the_thoughts_is_an_error_that_says_so() -> None:
    completion, bodies = ask(lambda _: (200, choice(None, reasoning_content="positive")))
    assert "reasoning_content" in (completion.error or "")
    assert len(bodies) == 1


@pytest.mark.parametrize("reason", [0, 1, {"type": "stop"}, "STOP", "eos_token"])
def test_finish_reason_of_any_type_costs_no_answer(reason: object) -> None:
    completion, bodies = ask(
        lambda _: (200, choice("Sentiment: positive", reason))  # type: ignore[arg-type]
    )
    assert (completion.text, completion.error, len(bodies)) == ("Sentiment: positive", "", 1)


def test_content_as_a_list_of_texts_is_joined() -> None:
    completion, _ = ask(
        lambda _: (200, choice(["Sentiment: ", "positive", {"type": "text", "text": "."}]))
    )
    assert completion.text == "Sentiment: positive."


@pytest.mark.parametrize(
    ("reply", "n_calls"),
    [
        (choice(None), 1),  # paid for, and the same again
        ({"object": "list", "data": []}, 6),  # no answer at all
        ({"error": {"message": "no such model", "code": 404}}, 1),
        ([{"error": {"message": "bad key", "code": 401}}], 1),
        ({"error": "busy"}, 6),
        ({"choices": "none"}, 1),
    ],
)
def test_fault_that_comes_again_is_not_paid_for_again(reply: object, n_calls: int) -> None:
    completion, bodies = ask(lambda _: (200, reply))
    assert completion.finish_reason == "error"
    assert len(bodies) == n_calls


def test_web_page_of_a_proxy_is_named_by_its_title() -> None:
    page = "<html>\r\n<head><title>502 Bad Gateway</title></head><body><hr>nginx</body></html>"
    assert shorten(page) == "502 Bad Gateway"
    assert shorten("<!DOCTYPE html><body><p>Sorry &amp; bye</p></body>") == "Sorry & bye"
    assert shorten("1 < 2 and <b>so on</b>") == "1 < 2 and <b>so on</b>"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "9"}, 9.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({}, None),
    ],
)
def test_wait_that_a_server_names_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert _retry_after(headers) == seconds


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "connection refused by api.x.org:443"),
        (socket.gaierror(-2, "Name not known"), "the name api.x.org is not known here: Name not"),
        (ssl.SSLCertVerificationError("self-signed"), "no secure connection to api.x.org:443"),
        (OSError("unreachable"), "no connection to api.x.org:443: boom"),
    ],
)
def test_cause_of_a_failed_connection_is_named_with_host_and_port(
    cause: OSError, message: str
) -> None:
    async def post() -> None:
        def fail(request: httpx.Request) -> httpx.Response:
            error = httpx.ConnectError("boom")
            error.__cause__ = ExceptionGroup("several addresses", [cause])
            raise error

        async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as client:
            await _post(client, "https://api.x.org/v1/chat/completions", b"", {}, 1.0)

    with pytest.raises((TransientError, PermanentError), match=re.escape(message)):
        asyncio.run(post())
