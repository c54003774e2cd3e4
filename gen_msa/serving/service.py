"""Handle one request to explain, from its body to its answer; and hold what all requests share.

service = Service(settings, log)
service.open(on_end=stop)
body = await service.explain(request, RequestLog("4f…"), ExitStack())
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from gen_msa import predictors
from gen_msa.predictors import Prediction, Predictor
from gen_msa.serving import request_body
from gen_msa.serving.batcher import DynamicBatcher
from gen_msa.serving.errors import ErrorDetail, InvalidPost, RequestError
from gen_msa.serving.logs import JsonLog
from gen_msa.serving.prometheus import ServiceMetrics
from gen_msa.serving.request_body import SMALL_BODY, UploadFolder
from gen_msa.serving.schemas import AcceptedPost, accept_post, build_response
from gen_msa.serving.settings import ServeSettings, client_name, client_share
from gen_msa.types import Post

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
        self._in_flight_of: Counter[str] = Counter()
        # Nothing of a request is parsed in the event loop; a large one delays no small one.
        self._small_bodies = ThreadPoolExecutor(2, "parse-small")
        self._large_bodies = ThreadPoolExecutor(1, "parse-large")

    def open(self, on_end: Callable[[], None]) -> None:
        """Start loading the model.

        Args:
            on_end: Called when loading fails or the model's thread ends by itself.
        """
        self.batcher.open(on_end)

    def close(self) -> None:
        """Predict no more and remove stored images."""
        self.batcher.close()
        self._small_bodies.shutdown(wait=False, cancel_futures=True)
        self._large_bodies.shutdown(wait=False, cancel_futures=True)
        self._scratch.cleanup()

    async def explain(
        self, request: Request, request_log: RequestLog, resources: ExitStack
    ) -> bytes:
        """Answer one request.

        Args:
            request: Request whose body has not been read.
            request_log: Filled with what the log line shows.
            resources: Holds the memory that is counted for the request; closed once the answer is
                sent.

        Returns:
            The answer's JSON.

        Raises:
            RequestError: The request as a whole cannot be answered.
            ClientDisconnect: The client left.
        """
        client = self._client_of(request)
        lease = resources.enter_context(self._body_budget.lease())
        with ExitStack() as stack:
            with self.batcher.expecting():
                body = await request_body.read_body(request, self.settings.limits, lease)
                # A client that sends slowly takes nobody's place.
                stack.enter_context(self._concurrency_slot(client))
                pool = self._large_bodies if len(body) > SMALL_BODY else self._small_bodies
                content_type = request.headers.get("content-type", "")
                rows = await self._accept_posts(stack, pool, body, content_type, request_log)
                accepted = [r for r in rows if isinstance(r, AcceptedPost)]
                self._log_posts(request_log, rows, accepted)
                pending = self.batcher.submit(
                    [a.post for a in accepted],
                    client=client,
                    pixels=[sum(i.pixels for i in a.images) for a in accepted],
                )
            del body
            predictions = await self._await_predictions(pending, request)
            response_body, n_rejected = await asyncio.get_running_loop().run_in_executor(
                pool, build_response, rows, predictions, self.metrics
            )
            request_log.fields["bad"] = n_rejected
            return response_body

    def _client_of(self, request: Request) -> str:
        """Return who is counted as one client: an address, or a network of IPv6."""
        name = self.settings.client_header
        last_value = request.headers.get(name, "").rpartition(",")[2].strip() if name else ""
        return client_name(last_value or (request.client.host if request.client else ""))

    async def _accept_posts(
        self,
        stack: ExitStack,
        pool: ThreadPoolExecutor,
        body: bytearray,
        content_type: str,
        request_log: RequestLog,
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

        return await asyncio.get_running_loop().run_in_executor(pool, parse_rows)

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
        request_log.fields["rows"] = sum(max(1, len(a.post.aspects)) for a in accepted)
        if self.settings.log_text:
            request_log.fields["texts"] = [a.post.text for a in accepted]

    @contextmanager
    def _concurrency_slot(self, client: str) -> Iterator[None]:
        limits = self.settings.limits
        own = self._in_flight_of[client]
        if self._in_flight >= limits.requests or own >= client_share(limits.requests):
            reason = f"{self._in_flight} requests are already in flight, {own} of this client"
            raise RequestError(429, reason, "send it again later", retry_after=limits.retry_seconds)
        self._count_in_flight(client, 1)
        try:
            yield
        finally:
            self._count_in_flight(client, -1)

    def _count_in_flight(self, client: str, change: int) -> None:
        self._in_flight += change
        self._in_flight_of[client] += change
        if not self._in_flight_of[client]:
            del self._in_flight_of[client]
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
