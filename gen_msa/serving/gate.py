"""What every request passes, whatever it asks for: a number, the token, and the log's line.

An ASGI middleware around the application. A request that is answered before its body was read is
drained for a moment and its connection closed, so that the client sees the answer and cannot hold
the line. Knows nothing of posts.

    application = Gate(app, settings, token, service)
"""

import asyncio
import hmac
import time
import uuid
from contextlib import suppress

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gen_msa.serving.explaining import Facts, Service
from gen_msa.serving.problems import Refusal
from gen_msa.serving.settings import is_loopback

OPEN = ("/healthz", "/docs", "/openapi.json")
"""Paths that need no token: they hold nothing of anybody's."""
EXPLAIN = "/v1/explain"
LEFT = 499
"""Status, in log and figures alone, of a request whose client left."""
_KNOWN = (*OPEN, EXPLAIN, "/metrics")
_LINGER = 1.0


class Gate:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, service: Service, token: str) -> None:
        """Without a token only names of this machine are answered to."""
        self._app, self._service = app, service
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan's events."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        line = _Line(scope, receive, send)
        scope.setdefault("state", {})["facts"] = line.facts
        try:
            self._admit(scope)
            await self._app(scope, line.receive, line.send)
        except Refusal as e:
            await line.say(e.status, e.body(), e.headers)
        except ClientDisconnect:
            line.status = LEFT
        except Exception as e:
            # Whatever it was: the application has told the client so much as it may know.
            self._service.log.error("fault", e, request=line.facts.id)
        finally:
            self._note(scope, line, time.perf_counter() - began)

    def _admit(self, scope: Scope) -> None:
        """Raises `Refusal`: 401 without the token, 421 for a foreign host, 400 for two lengths."""
        if _header(scope, b"content-length") and _header(scope, b"transfer-encoding"):
            # A proxy that obeys the other one would take the body's rest for somebody's request.
            raise Refusal(400, "the body's length is said in two ways", "send Content-Length alone")
        if not self._token:
            # A page elsewhere may give its own name our address; its requests carry that name.
            host = _header(scope, b"host").decode("latin-1")
            name = host if host.startswith("[") and host.endswith("]") else host.rpartition(":")[0]
            if host and not is_loopback(name or host):
                raise Refusal(421, "the host is not this machine", "set a token to be reached so")
            return
        if scope["path"] in OPEN:
            return
        scheme, _, given = _header(scope, b"authorization").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
            refusal = Refusal(401, "the token is missing or wrong", "send Authorization: Bearer …")
            refusal.headers["www-authenticate"] = "Bearer"
            raise refusal

    def _note(self, scope: Scope, line: "_Line", seconds: float) -> None:
        path = scope["path"] if scope["path"] in _KNOWN else "other"
        status = line.status or LEFT
        figures = self._service.figures
        figures.requests.labels(str(status)).inc()
        if path == EXPLAIN:
            figures.latency.observe(seconds)
        self._service.log.write(
            "request",
            request=line.facts.id,
            method=scope["method"] if scope["method"] in ("GET", "POST", "HEAD") else "other",
            path=path,
            status=status,
            ms=round(seconds * 1000, 1),
            **line.facts.facts,
        )


class _Line:
    """The two ends of one request, watched."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.facts = Facts(uuid.uuid4().hex)
        self.status = 0
        """0 until an answer has begun."""
        self._receive, self._send = receive, send
        length = _header(scope, b"content-length")
        self._unread = length not in (b"", b"0") or bool(_header(scope, b"transfer-encoding"))

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            more = [(b"x-request-id", self.facts.id.encode()), (b"cache-control", b"no-store")]
            if self._unread:
                more.append((b"connection", b"close"))
            message["headers"] = [*message.get("headers", []), *more]
        elif self._unread and not message.get("more_body"):
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """A whole answer of our own."""
        own = {"content-type": "application/json", "content-length": str(len(body)), **headers}
        raw = [(k.encode(), v.encode()) for k, v in own.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})

    async def _drain(self) -> None:
        """Throw away what still comes; a socket closed on unread bytes would eat the answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while self._unread:
                    await self.receive()


def _header(scope: Scope, name: bytes) -> bytes:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return next((value for key, value in headers if key == name), b"")
