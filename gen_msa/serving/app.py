"""The routes: `POST /v1/explain`, `GET /healthz`, `/metrics`, `/openapi.json`, `/docs`.

Knows nothing of how posts are read or who listens.

    app = application(Service(settings, log), token="")
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from gen_msa import __version__
from gen_msa.serving import figures
from gen_msa.serving.answers import Answers
from gen_msa.serving.describing import EXPLAINED, REFUSED, describe
from gen_msa.serving.explaining import Service
from gen_msa.serving.gate import EXPLAIN, Gate
from gen_msa.serving.problems import Refusal, Told
from gen_msa.types import Noun


class Health(Noun):
    """What `/healthz` says; its status is 200 when ready and 503 otherwise."""

    status: Literal["loading", "ready", "stuck", "stopped"]
    reader: str
    """The reader's name; of a folder or file the last part alone."""
    revision: str
    """sha256 over everything that decides the reader's answers; empty until it is loaded."""
    version: str
    """Of gen_msa."""


def application(service: Service, token: str, on_end: Callable[[], None]) -> ASGIApp:
    """The whole application. `on_end` is called should the reader's thread end by itself."""

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
        redoc_url=None,
    )
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _no_such)
    app.add_exception_handler(Exception, _fault)
    _routes(app, service)
    described = describe(app, service.settings.limits, with_token=bool(token))
    app.openapi = lambda: described  # type: ignore[method-assign]
    return Gate(app, service, token)


def _routes(app: FastAPI, service: Service) -> None:
    @app.post(EXPLAIN, response_model=Answers, responses=REFUSED, openapi_extra=EXPLAINED)
    async def explain(request: Request) -> Response:
        """What each post feels about each aspect. A bad post is an entry with its error."""
        said = await service.explain(request, request.state.facts)
        return Response(said, media_type="application/json")

    @app.get("/healthz", response_model=Health, responses={503: {"model": Health}})
    async def healthz() -> Response:
        """Whether posts can be read now, and by whom."""
        health = health_of(service)
        status = 200 if health.status == "ready" else 503
        return Response(health.model_dump_json(), status, media_type="application/json")

    @app.get("/metrics", response_class=_Figures)
    async def metrics() -> Response:
        """Counts and times, for Prometheus."""
        return _Figures(service.figures.text())


def health_of(service: Service) -> Health:
    """The service as it stands."""
    state: Any = service.desk.state()
    name, colon, target = service.settings.reader.partition(":")
    reader = name + colon + (Path(target).name if target else "")
    return Health(status=state, reader=reader, revision=service.desk.revision, version=__version__)


class _Figures(Response):
    media_type = figures.TYPE


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101  registered for it alone
    return Response(error.body(), error.status, error.headers, "application/json")


async def _fault(_: Request, __: Exception) -> Response:
    # The gate, to which the error goes on, writes its type and place into the log.
    fault = Refusal(500, "the service failed on this request", "tell who runs it, with its id")
    return Response(fault.body(), fault.status, media_type="application/json")


async def _no_such(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for it alone
    told = Told.model_validate({"error": {"reason": error.detail, "mend": "see /docs"}})
    headers = dict(error.headers or {})
    return Response(told.model_dump_json(), error.status_code, headers, "application/json")
