"""Define the routes: `POST /v1/explain`, `GET /`, `/docs`, `/healthz`, `/metrics`, `/openapi.json`.

app = create_app(Service(settings, log), token="", on_end=stop)
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from gen_msa import __version__
from gen_msa.serving import prometheus
from gen_msa.serving.errors import ErrorResponse, RequestError
from gen_msa.serving.middleware import EXPLAIN_PATH, RequestMiddleware
from gen_msa.serving.pages import HEADERS, render_pages
from gen_msa.serving.request_body import SMALL_BODY
from gen_msa.serving.schemas import ExplainResponse, PostRequest
from gen_msa.serving.service import Service
from gen_msa.serving.settings import ServiceLimits
from gen_msa.types import FrozenModel

# The OpenAPI description: FastAPI derives the rest, but the body is read as a stream.

_REF = "#/components/schemas/{model}"
_POST = {"$ref": _REF.format(model="PostRequest")}
_POSTS = {"$ref": _REF.format(model="PostRequests")}
_RED_DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR42mP8z4APMOG"
    "VHbLSAEEsAQ/V+ZGNAAAAAElFTkSuQmCC"
)
OPENAPI_EXAMPLES: dict[str, Any] = {
    "one": {"value": {"text": "Great screen, awful battery", "aspects": ["screen", "battery"]}},
    "many": {
        "value": {
            "posts": [
                {"id": "a", "text": "The soup was cold", "aspects": [{"term": "soup", "start": 4}]},
                {"text": "Look at this dot", "image": _RED_DOT, "meta": {"lang": "en"}},
            ]
        }
    },
}
EXPLAIN_OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [_POST, _POSTS, {"$ref": _REF.format(model="PostList")}]},
                "examples": OPENAPI_EXAMPLES,
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["posts"],
                    "properties": {
                        "posts": _POSTS,
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "Images, each named by its file name in a post.",
                        },
                    },
                },
                "encoding": {"posts": {"contentType": "application/json"}},
            },
        },
    }
}
_STATUS_DESCRIPTIONS = {
    400: "The body cannot be parsed.",
    401: "The token is missing or wrong.",
    403: "The request comes from the page of another site.",
    408: "The body arrived too slowly.",
    413: "The body is too large, or holds too many posts.",
    415: "The body is compressed, or has another media type.",
    421: "The host is not this machine.",
    429: "Too many requests at once; see Retry-After.",
    500: "The service failed.",
    503: "The model is loading, or too many rows are queued; see Retry-After.",
}
ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": description}
    for status, description in _STATUS_DESCRIPTIONS.items()
}


def build_openapi(app: FastAPI, limits: ServiceLimits, *, with_token: bool) -> dict[str, Any]:
    """Build the OpenAPI description, with the body of `/v1/explain` and the limits in force.

    Args:
        app: Application whose routes are described.
        limits: Limits to state in the schema of a post.
        with_token: Whether requests need a bearer token.

    Returns:
        The OpenAPI document.
    """
    openapi = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = openapi["components"]["schemas"]
    post = PostRequest.model_json_schema(ref_template=_REF)
    schemas.update(post.pop("$defs", {}))
    for key, bound, maximum in (
        ("text", "maxLength", limits.characters),
        ("aspects", "maxItems", limits.aspects),
        ("images", "maxItems", limits.images),
    ):
        post["properties"][key][bound] = maximum
    post_list = {"type": "array", "items": _POST, "minItems": 1, "maxItems": limits.posts}
    schemas |= {"PostRequest": post, "PostList": post_list}
    schemas["PostRequests"] = {
        "type": "object",
        "required": ["posts"],
        "additionalProperties": False,
        "properties": {"posts": {"$ref": _REF.format(model="PostList")}},
    }
    if with_token:
        openapi["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path in ("/v1/explain", "/metrics"):
            for operation in openapi["paths"][path].values():
                operation["security"] = [{"token": []}]
                operation["responses"].setdefault("401", {"description": _STATUS_DESCRIPTIONS[401]})
    return openapi


class Health(FrozenModel):
    """Answer of `/healthz`; its status is 200 when ready and 503 otherwise."""

    status: Literal["loading", "ready", "stuck", "stopped"]
    model: str
    """Name of the model; of a folder or file only the last part."""
    revision: str
    """SHA-256 over everything that decides the answers; empty until the model is loaded."""
    version: str
    """Version of gen_msa."""


def create_app(service: Service, token: str, on_end: Callable[[], None]) -> ASGIApp:
    """Create the complete application.

    Args:
        service: Service that answers; it is opened and closed with the application.
        token: Bearer token; "" for none, and then only clients of this machine are answered.
        on_end: Called when the model's thread ends by itself.

    Returns:
        The ASGI application, with the checks that every request passes.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.open(on_end)
        yield
        service.close()

    app = FastAPI(
        title="gen_msa",
        version=__version__,
        description="What posts say about each thing they mention.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page loads its scripts from another host
        redoc_url=None,
    )
    app.add_exception_handler(RequestError, _request_error_response)
    app.add_exception_handler(HTTPException, _http_error_response)
    app.add_exception_handler(Exception, _internal_error_response)
    _routes(app, service)
    openapi_schema = build_openapi(app, service.settings.limits, with_token=bool(token))
    app.openapi = lambda: openapi_schema  # type: ignore[method-assign]
    _add_pages(app, render_pages(openapi_schema, _model_name(service)))
    return RequestMiddleware(app, service, token)


def _routes(app: FastAPI, service: Service) -> None:
    @app.post(
        EXPLAIN_PATH,
        response_model=ExplainResponse,
        responses=ERROR_RESPONSES,
        openapi_extra=EXPLAIN_OPENAPI,
    )
    async def explain(request: Request) -> Response:
        """Say what each post feels about each aspect. A bad post is an entry with its error."""
        resources: ExitStack = request.state.resources
        body = await service.explain(request, request.state.request_log, resources)
        return _PacedResponse(body, resources, service.settings.limits.write_seconds)

    @app.get("/healthz", response_model=Health, responses={503: {"model": Health}})
    async def healthz() -> Response:
        """Say whether posts can be answered now, and by which model."""
        health = health_status(service)
        status = 200 if health.status == "ready" else 503
        return Response(health.model_dump_json(), status, media_type="application/json")

    @app.get("/metrics", response_class=_MetricsResponse)
    async def metrics() -> Response:
        """Return counts and times, for Prometheus."""
        return _MetricsResponse(service.metrics.render())


def _add_pages(app: FastAPI, pages: Mapping[str, str]) -> None:
    def response_to(html: str) -> Callable[[Request], HTMLResponse]:
        return lambda _: HTMLResponse(html, headers=HEADERS)

    for path, html in pages.items():
        app.add_route(path, response_to(html), include_in_schema=False)


def health_status(service: Service) -> Health:
    """Return the present state of the service."""
    state: Any = service.batcher.state()
    model, revision = _model_name(service), service.batcher.revision
    return Health(status=state, model=model, revision=revision, version=__version__)


def _model_name(service: Service) -> str:
    """Return the name of the model; of a folder or file only the last part."""
    name, colon, target = service.settings.model.partition(":")
    return name + colon + (Path(target).name if target else "")


class _PacedResponse(Response):
    """JSON that is sent as fast as the client takes it, and counts as memory until then."""

    media_type = "application/json"

    def __init__(self, content: bytes, resources: ExitStack, seconds: float) -> None:
        super().__init__(content)
        self._resources, self._seconds = resources, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer in pieces, each within the time for writing.

        Raises:
            ClientDisconnect: The client does not take it.
        """
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        body = memoryview(self.body)
        try:
            if len(body) > SMALL_BODY:
                await send(head)
            while len(body) > SMALL_BODY:
                piece, body = body[:SMALL_BODY], body[SMALL_BODY:]
                message = {"type": "http.response.body", "body": bytes(piece), "more_body": True}
                async with asyncio.timeout(self._seconds):
                    await send(message)
        except TimeoutError:
            raise ClientDisconnect from None
        self._resources.close()
        if len(self.body) <= SMALL_BODY:
            await send(head)
        await send({"type": "http.response.body", "body": bytes(body)})


class _MetricsResponse(Response):
    media_type = prometheus.CONTENT_TYPE


async def _request_error_response(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)  # noqa: S101  registered for it alone
    return Response(error.body(), error.status, error.headers, "application/json")


async def _internal_error_response(_: Request, __: Exception) -> Response:
    # The middleware, to which the error goes on, logs its type and location.
    request_error = RequestError(
        500, "the service failed on this request", "report its id to the operator"
    )
    return Response(request_error.body(), request_error.status, media_type="application/json")


async def _http_error_response(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for it alone
    error_response = ErrorResponse.model_validate(
        {"error": {"reason": error.detail, "hint": "see /docs"}}
    )
    headers = dict(error.headers or {})
    return Response(
        error_response.model_dump_json(), error.status_code, headers, "application/json"
    )
