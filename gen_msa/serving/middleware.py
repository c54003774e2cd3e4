"""Wrap every request: request id, host and token checks, and the log line.

An ASGI middleware around the application. When a request is answered before its body was read, the
rest of the body is drained for a moment and the connection closed, so that the client sees the
answer and cannot keep the connection busy.

    application = RequestMiddleware(app, service, token)
"""

import asyncio
import hmac
import time
import uuid
from contextlib import ExitStack, suppress

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gen_msa.serving.errors import RequestError
from gen_msa.serving.service import RequestLog, Service
from gen_msa.serving.settings import is_loopback

PUBLIC_PATHS = ("/", "/healthz", "/docs", "/openapi.json")
"""Paths that need no token: they hold nothing of any client."""
EXPLAIN_PATH = "/v1/explain"
CLIENT_CLOSED_REQUEST = 499
"""Status, only in log and metrics, of a request whose client disconnected."""
_KNOWN_PATHS = (*PUBLIC_PATHS, EXPLAIN_PATH, "/metrics")
_DRAIN_SECONDS = 1.0


class RequestMiddleware:
    """ASGI middleware around the application."""

    def __init__(self, app: ASGIApp, service: Service, token: str) -> None:
        """Wrap `app`.

        Args:
            app: Application to wrap.
            service: Service whose log and metrics are written.
            token: Bearer token; "" for none, and then only requests to this machine's own host
                names
                are answered.
        """
        self._app, self._service = app, service
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the lifespan's events."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        exchange = _Exchange(scope, receive, send)
        resources = ExitStack()
        scope.setdefault("state", {}).update(request_log=exchange.request_log, resources=resources)
        try:
            self._authorize(scope)
            await self._app(scope, exchange.receive, exchange.send)
        except RequestError as e:
            await exchange.respond(e.status, e.body(), e.headers)
        except ClientDisconnect:
            exchange.status = CLIENT_CLOSED_REQUEST
        except Exception as e:
            # The application has already sent the client a response without details.
            self._service.log.error("fault", e, request=exchange.request_log.id)
        finally:
            resources.close()
            self._log_request(scope, exchange, time.perf_counter() - started)

    def _authorize(self, scope: Scope) -> None:
        """Check the headers.

        Raises:
            RequestError: 401 without the token, 403 for another site's page, 421 for a foreign
                host, 400 for two body lengths.
        """
        if _header(scope, b"content-length") and _header(scope, b"transfer-encoding"):
            # A proxy that obeys the other length would take the rest of the body for a request.
            raise RequestError(
                400, "the length of the body is given twice", "send only Content-Length"
            )
        if not self._token:
            # DNS rebinding: a foreign page can resolve its own name to this address; its requests
            # carry that name.
            host = _header(scope, b"host").decode("latin-1")
            name = host if host.startswith("[") and host.endswith("]") else host.rpartition(":")[0]
            if host and not is_loopback(name or host):
                raise RequestError(
                    421, "the host is not this machine", "start the service with a token"
                )
            _check_origin(scope)
            return
        if scope["path"] in PUBLIC_PATHS:
            return
        scheme, _, credentials = _header(scope, b"authorization").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(credentials.strip(), self._token):
            error = RequestError(
                401, "the token is missing or wrong", "send Authorization: Bearer …"
            )
            error.headers["www-authenticate"] = "Bearer"
            raise error

    def _log_request(self, scope: Scope, exchange: "_Exchange", seconds: float) -> None:
        path = scope["path"] if scope["path"] in _KNOWN_PATHS else "other"
        status = exchange.status or CLIENT_CLOSED_REQUEST
        metrics = self._service.metrics
        metrics.requests.labels(str(status)).inc()
        if path == EXPLAIN_PATH:
            metrics.request_seconds.observe(seconds)
        self._service.log.write(
            "request",
            request=exchange.request_log.id,
            method=scope["method"] if scope["method"] in ("GET", "POST", "HEAD") else "other",
            path=path,
            status=status,
            ms=round(seconds * 1000, 1),
            **exchange.request_log.fields,
        )


def _check_origin(scope: Scope) -> None:
    """Refuse what the page of another site sends through a browser on this machine.

    A browser sends a form to any address without asking for permission. Programs send neither
    header; a link to a page of the service may be followed from anywhere.

    Raises:
        RequestError: 403 for another site.
    """
    if scope["method"] in ("GET", "HEAD") and scope["path"] in PUBLIC_PATHS:
        return
    site = _header(scope, b"sec-fetch-site").lower()
    origin = _header(scope, b"origin").lower()
    is_foreign = site not in (b"", b"same-origin", b"none")
    if is_foreign or (origin and origin.rpartition(b"//")[2] != _header(scope, b"host").lower()):
        raise RequestError(
            403,
            "the request comes from the page of another site",
            "send it from a program; or start the service with a token",
        )


class _Exchange:
    """One request and its response, with what must be known when they end."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.request_log = RequestLog(uuid.uuid4().hex)
        self.status = 0
        """0 until a response has started."""
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
            extra_headers = [
                (b"x-request-id", self.request_log.id.encode()),
                (b"cache-control", b"no-store"),
            ]
            if self._unread:
                extra_headers.append((b"connection", b"close"))
            message["headers"] = [*message.get("headers", []), *extra_headers]
        elif self._unread and not message.get("more_body"):
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def respond(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Send a complete response of the middleware's own."""
        all_headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **headers,
        }
        encoded_headers = [(k.encode(), v.encode()) for k, v in all_headers.items()]
        await self.send(
            {"type": "http.response.start", "status": status, "headers": encoded_headers}
        )
        await self.send({"type": "http.response.body", "body": body})

    async def _drain(self) -> None:
        """Discard what still arrives; a socket closed on unread bytes would lose the answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while self._unread:
                    await self.receive()


def _header(scope: Scope, name: bytes) -> bytes:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return next((value for key, value in headers if key == name), b"")
