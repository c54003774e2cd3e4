"""Handle one request to explain, from its body to its answer; and hold what all requests share.

service = Service(settings, log)
service.open(on_end=stop)
body = await service.explain(request, RequestLog("4f…"))
"""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from gen_msa import predictors
from gen_msa.predictors import Prediction, Predictor
from gen_msa.serving import request_body
from gen_msa.serving.batcher import DynamicBatcher, row_count
from gen_msa.serving.errors import ErrorDetail, InvalidPost, RequestError
from gen_msa.serving.logs import JsonLog
from gen_msa.serving.prometheus import ServiceMetrics
from gen_msa.serving.request_body import UploadFolder
from gen_msa.serving.schemas import AcceptedPost, accept_post, build_response
from gen_msa.serving.settings import ServeSettings
from gen_msa.types import Post

_INLINE_PARSE_BYTES = 1 << 15
"""Bytes up to which a body is parsed in the event loop; a larger one is parsed in a thread."""

PredictorLoader = Callable[[Path], Predictor]
"""Loads the model, given the folder below which it finds images."""


@dataclass
class RequestLog:
    """Fields of the log line of one request."""

    id: str
    fields: dict[str, int | list[str]] = field(default_factory=dict)


class Service:
    """A model and the state around it. `open` and `close` belong to one event loop."""

    def __init__(
        self, settings: ServeSettings, log: JsonLog, load: PredictorLoader | None = None
    ) -> None:
        """Prepare the service; `open` loads the model.

        Args:
            settings: Settings of model and service.
            log: Log of events.
            load: Loads another model than the settings name, given the folder of images.
        """
        self.settings, self.log = settings, log
        self.metrics = ServiceMetrics()
        self._scratch = tempfile.TemporaryDirectory(prefix="gen-msa-serve-")
        self._root = Path(self._scratch.name)
        make = load or (lambda root: predictors.make(settings.predictor_settings(), root))
        self.batcher = DynamicBatcher(lambda: make(self._root), settings, self.metrics, log)
        self._body_budget = request_body.BodyBudget(settings.limits, self.metrics)
        self._in_flight = 0

    def open(self, on_end: Callable[[], None]) -> None:
        """Start loading the model.

        Args:
            on_end: Called when loading fails or the model's thread ends by itself.
        """
        self.batcher.open(on_end)

    def close(self) -> None:
        """Predict no more and remove stored images."""
        self.batcher.close()
        self._scratch.cleanup()

    async def explain(self, request: Request, request_log: RequestLog) -> bytes:
        """Answer one request.

        Args:
            request: Request whose body has not been read.
            request_log: Filled with what the log line shows.

        Returns:
            The answer's JSON.

        Raises:
            RequestError: The request as a whole cannot be answered.
            ClientDisconnect: The client left.
        """
        with ExitStack() as stack:
            stack.enter_context(self._concurrency_slot())
            with self.batcher.expecting():
                lease = stack.enter_context(self._body_budget.lease())
                body = await request_body.read_body(request, self.settings.limits, lease)
                content_type = request.headers.get("content-type", "")
                rows = await self._accept_posts(stack, body, content_type, request_log)
                accepted = [r for r in rows if isinstance(r, AcceptedPost)]
                self._log_posts(request_log, rows, accepted)
                pending = self.batcher.submit([a.post for a in accepted])
            predictions = await self._await_predictions(pending, request)
            response_body, n_rejected = build_response(rows, predictions, self.metrics)
            request_log.fields["bad"] = n_rejected
            return response_body

    async def _accept_posts(
        self, stack: ExitStack, body: bytes, content_type: str, request_log: RequestLog
    ) -> list[AcceptedPost | ErrorDetail]:
        """Parse a body into rows; their images lie in a folder until `stack` is closed."""

        def parse_rows() -> list[AcceptedPost | ErrorDetail]:
            parsed_body = request_body.parse_body(body, content_type, self.settings.limits)
            validate = self.settings.bad_image != "text-only"
            limits, pixels = self.settings.image, self.settings.limits.pixels
            upload_folder = UploadFolder(
                self._root, parsed_body.uploads, limits, pixels=pixels, validate=validate
            )
            folder = stack.enter_context(upload_folder)
            rows = _accept_rows(parsed_body.posts, self.settings, folder, request_log.id)
            unused = sorted(parsed_body.uploads.keys() - folder.used_uploads)
            if unused and all(isinstance(r, AcceptedPost) for r in rows):
                reason = f"no post names the uploaded file {unused[0][:60]!a}"
                raise RequestError(400, reason, "name it in `image` or `images` of its post")
            return rows

        if len(body) <= _INLINE_PARSE_BYTES and content_type.startswith("application/json"):
            return parse_rows()
        return await asyncio.to_thread(parse_rows)

    async def _await_predictions(
        self, pending: "list[asyncio.Future[Prediction]]", request: Request
    ) -> list[Prediction]:
        """Wait for the predictions; cancel them when time runs out or the client leaves."""
        if not pending:
            return []
        limits = self.settings.limits
        all_done = asyncio.ensure_future(asyncio.wait(pending))
        disconnected = asyncio.ensure_future(_wait_for_disconnect(request))
        try:
            waiters: set[asyncio.Future[Any]] = {all_done, disconnected}
            first_completed = asyncio.FIRST_COMPLETED
            done, _ = await asyncio.wait(
                waiters, timeout=limits.seconds, return_when=first_completed
            )
            if all_done in done:
                return [future.result() for future in pending]
            if disconnected in done:
                raise ClientDisconnect
            reason = f"there was no answer within {limits.seconds:g} seconds"
            raise RequestError(
                503,
                reason,
                "send fewer posts, or send them later",
                retry_after=limits.retry_seconds,
            )
        finally:
            for future in pending:
                future.cancel()
            all_done.cancel()
            disconnected.cancel()

    def _log_posts(
        self,
        request_log: RequestLog,
        rows: list[AcceptedPost | ErrorDetail],
        accepted: list[AcceptedPost],
    ) -> None:
        request_log.fields["posts"] = len(rows)
        request_log.fields["rows"] = sum(row_count(a.post) for a in accepted)
        if self.settings.log_text:
            request_log.fields["texts"] = [a.post.text for a in accepted]

    @contextmanager
    def _concurrency_slot(self) -> Iterator[None]:
        limits = self.settings.limits
        if self._in_flight >= limits.requests:
            reason = f"{self._in_flight} requests are already in flight"
            raise RequestError(429, reason, "send it again later", retry_after=limits.retry_seconds)
        self._in_flight += 1
        self.metrics.in_flight.set(self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1
            self.metrics.in_flight.set(self._in_flight)


def _accept_rows(
    posts: list[object], settings: ServeSettings, folder: UploadFolder, request: str
) -> list[AcceptedPost | ErrorDetail]:
    rows: list[AcceptedPost | ErrorDetail] = []
    row_by_id: dict[str, int] = {}
    for number, raw in enumerate(posts, 1):
        try:
            accepted = accept_post(raw, f"{request}-{number}", settings.limits, folder)
            _check_unique_id(accepted.post, number, row_by_id)
            rows.append(accepted)
        except InvalidPost as e:
            rows.append(e.detail)
    return rows


def _check_unique_id(post: Post, number: int, row_by_id: dict[str, int]) -> None:
    if (first := row_by_id.setdefault(post.id, number)) != number:
        reason = f"row {first} has the same id"
        raise InvalidPost(reason, "give every post a different id, or none")


async def _wait_for_disconnect(request: Request) -> None:
    """Return when the client has disconnected."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
