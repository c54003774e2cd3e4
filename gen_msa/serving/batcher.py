"""Batch posts of several clients; each prediction goes back to the request it is for.

A request goes into the lane of its cost (`cost.lane_of`). Each lane has a queue that is fair
between clients (`fair_queue`) and a thread that predicts. Short lanes go first, and long ones pause
for them (`turns`, `gen_msa.preemption`); unless the predictor allows more, one lane uses it at a
time. The first post of a batch waits for others only while another request is on its way, and at
most `wait_ms`. Posts whose client has left are not predicted, and a batch that nobody waits for
ends at its next preemption point. A batch that fails is halved until the failing post stands alone.

    batcher = DynamicBatcher(lambda: make(settings, root), settings, metrics, log)
    batcher.open(on_end=stop)
    predictions = await asyncio.gather(*batcher.submit(posts))
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

from gen_msa import answer_cache, predictors
from gen_msa.errors import UserError
from gen_msa.predictors import Prediction, Predictor
from gen_msa.preemption import WorkCancelled, preemption_callback
from gen_msa.serving.cost import LANE_LIMITS, N_LANES, lane_of, post_cost
from gen_msa.serving.errors import RequestError
from gen_msa.serving.fair_queue import FairQueue, QueuedPost, QueuedRequest
from gen_msa.serving.logs import JsonLog
from gen_msa.serving.prometheus import ServiceMetrics
from gen_msa.serving.settings import ServeSettings, client_share
from gen_msa.serving.turns import ModelTurns
from gen_msa.types import Aspect, Post, Status

_WARM_UP_POST = Post(id="probe", text="It was fine", aspects=(Aspect(term="It", start=0),))
_WARM_UP_POST_WITHOUT_ASPECTS = Post(id="probe", text="The soup was fine")
PREDICTOR_FAILED = "the model failed on this post"

_BATCH_WORK = (4 * LANE_LIMITS[0], *LANE_LIMITS[1:], LANE_LIMITS[-1])
"""Most work of a batch in each lane, unless one post has more."""
_LANE_SHARE = 0.25
"""Share of the requests in flight that may wait in one lane but the shortest."""
_PARALLEL_TURNS = 2
"""Lanes that may use a thread-safe predictor at once: a short request then waits for no other."""


class DynamicBatcher:
    """Queues of posts, and the threads that predict them."""

    def __init__(
        self,
        load: Callable[[], Predictor],
        settings: ServeSettings,
        metrics: ServiceMetrics,
        log: JsonLog,
    ) -> None:
        """Prepare the queues; `open` starts the threads.

        Args:
            load: Loads the model; called in the first thread.
            settings: Batch size, waiting time and limits.
            metrics: Metrics to update.
            log: Log of readiness and failures.
        """
        self._load, self._metrics, self._log = load, metrics, log
        self._batching, self._limits = settings.batching, settings.limits
        self._lanes = [FairQueue() for _ in range(N_LANES)]
        self._in_progress: dict[int, list[QueuedPost]] = {}
        self._last_progress: dict[int, float] = {}
        self._n_expected = 0  # requests whose posts are not queued yet
        self._expected_until = 0.0
        self._condition = threading.Condition()
        self._turns: ModelTurns | None = ModelTurns(1)
        self._closed = False
        self._loop: asyncio.AbstractEventLoop
        self.revision = ""
        """SHA-256 over everything that decides the answers; "" until the model is loaded."""
        self.failure: BaseException | None = None
        """Why the model could not be loaded, or what ended one of its threads."""

    def open(self, on_end: Callable[[], None]) -> None:
        """Start the threads; needs a running event loop.

        Args:
            on_end: Called in this event loop when a thread ends by itself.
        """
        self._loop = asyncio.get_running_loop()
        self._start_thread(self._load_and_predict, on_end)

    def close(self) -> None:
        """Start no further batch; those in progress end at their next preemption point."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def state(self, lane: int = 0) -> str:
        """Return `loading`, `ready`, `stuck` or `stopped`.

        Args:
            lane: The lane that a request is for. It is stuck while it, or another lane that it
                waits for, has made no progress for the time of a request.
        """
        if self._closed or self.failure:
            return "stopped"
        last_progress = dict(self._last_progress)
        if self._turns is None or self._turns.n_parallel > 1:
            last_progress = {lane: last_progress[lane]} if lane in last_progress else {}
        if time.monotonic() - min(last_progress.values(), default=math.inf) > self._limits.seconds:
            return "stuck"
        return "ready" if self.revision else "loading"

    @property
    def _queued_rows(self) -> int:
        return sum(queue.rows for queue in self._lanes)

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Announce a request for the time of the context: a batch waits a little for its posts."""
        wait = self._batching.wait_ms / 1000
        with self._condition:
            self._n_expected += 1
            # One that arrives slowly is not waited for again and again.
            self._expected_until = time.monotonic() + wait
        try:
            yield
        finally:
            with self._condition:
                self._n_expected -= 1
                self._condition.notify_all()

    def submit(
        self, posts: Sequence[Post], *, client: str = "", pixels: Sequence[int] = ()
    ) -> "list[asyncio.Future[Prediction]]":
        """Queue posts; one whose future is cancelled is not predicted, and waits no longer.

        Args:
            posts: The posts of one request.
            client: Who sends them: clients take turns.
            pixels: Pixels of the images of each post; none if not given.

        Returns:
            One future for each post.

        Raises:
            RequestError: 503 while the model is loading or stuck, or when the queue is full.
        """
        costs = [
            post_cost(post, n) for post, n in zip(posts, pixels or [0] * len(posts), strict=True)
        ]
        lane = lane_of(sum(cost.work for cost in costs))
        request = QueuedRequest(client, lane)
        now = time.monotonic()
        for post, cost in zip(posts, costs, strict=True):
            queued_post = QueuedPost(post, cost, self._loop.create_future(), now, request)
            queued_post.future.add_done_callback(lambda _, p=queued_post: self._discard(p))  # type: ignore[misc]
            request.posts.append(queued_post)
        futures = [p.future for p in request.posts]
        with self._condition:
            self._check_admission(request)
            self._lanes[lane].add(request)
            self._update_queue_metrics()
            self._condition.notify_all()
        return futures

    def _check_admission(self, request: QueuedRequest) -> None:
        """Check that the request's lane has room; an empty one takes any request.

        Raises:
            RequestError: 503 with the reason.
        """
        if (state := self.state(request.lane)) != "ready":
            raise self._busy_error(f"the model is {state}")
        queue, limits = self._lanes[request.lane], self._limits
        rows = sum(p.cost.rows for p in request.posts)
        tokens = sum(p.cost.tokens for p in request.posts)
        if queue.rows and queue.rows + rows > limits.queue_rows:
            raise self._busy_error(f"{queue.rows} rows already wait for the model")
        if queue.tokens and queue.tokens + tokens > limits.queue_tokens:
            raise self._busy_error(f"{queue.tokens:,} tokens already wait for the model")
        max_requests = math.ceil(limits.requests * _LANE_SHARE)
        if request.lane and queue.n_requests() >= max_requests:
            raise self._busy_error(f"{max_requests} requests of this length already wait")
        own_tokens = queue.tokens_of(request.client)
        if own_tokens and own_tokens + tokens > client_share(limits.queue_tokens):
            raise self._busy_error(f"{own_tokens:,} tokens of this client already wait")

    def _busy_error(self, reason: str) -> RequestError:
        return RequestError(
            503, reason, "send it again later", retry_after=self._limits.retry_seconds
        )

    def _discard(self, queued_post: QueuedPost) -> None:
        """Remove a post from its queue once it is cancelled or answered."""
        with self._condition:
            if self._lanes[queued_post.request.lane].discard(queued_post):
                self._update_queue_metrics()

    def _update_queue_metrics(self) -> None:
        self._metrics.queued_rows.set(self._queued_rows)
        self._metrics.queued_tokens.set(sum(queue.tokens for queue in self._lanes))

    def _start_thread(
        self, target: Callable[..., None], on_end: Callable[[], None], *arguments: object
    ) -> None:
        # A daemon: a model that never returns must not keep the process alive.
        thread = threading.Thread(
            target=self._run, args=(target, on_end, *arguments), daemon=True, name="predictor"
        )
        thread.start()

    def _run(
        self, target: Callable[..., None], on_end: Callable[[], None], *arguments: object
    ) -> None:
        try:
            target(on_end, *arguments)
        except BaseException as e:  # whatever ends a thread ends the service, which reports it
            with self._condition:
                self.failure = self.failure or e
                self._closed = True
                unanswered = [p for posts in self._in_progress.values() for p in posts]
                unanswered += [p for queue in self._lanes for p in queue.clear()]
                self._condition.notify_all()
            self._metrics.ready.set(0)
            stopped_prediction = Prediction(
                rejection="the model has stopped", hint="send it again later"
            )
            self._call_in_loop(_deliver, unanswered, [stopped_prediction] * len(unanswered))
            self._call_in_loop(on_end)

    def _load_and_predict(self, on_end: Callable[[], None]) -> None:
        predictor = self._load()
        if not self._warm_up(predictor):
            return
        if predictors.is_concurrent(predictor):
            self._turns = None  # a server takes turns itself
        elif predictors.is_thread_safe(predictor):
            self._turns = ModelTurns(_PARALLEL_TURNS)
        self.revision = answer_cache.fingerprint_key(predictor.fingerprint())
        self._metrics.ready.set(1)
        self._log.write("ready", revision=self.revision)
        for lane in range(1, N_LANES):
            self._start_thread(self._predict_lane, on_end, predictor, lane)
        self._predict_lane(on_end, predictor, 0)

    def _warm_up(self, predictor: Predictor) -> bool:
        """Predict two fixed posts, again and again until it works, so that lazy parts are loaded.

        A model that cannot find aspects is logged as `limited` and answers posts that come with
        theirs.

        Returns:
            Whether it works; False when the service was closed meanwhile.
        """
        while not self._closed:
            predictions = predictor.predict([_WARM_UP_POST])
            try:
                predictions += predictor.predict([_WARM_UP_POST_WITHOUT_ASPECTS])
            except UserError as e:
                predictions.append(Prediction(rejection=e.problem, hint=e.hint))
            error_opinions = [
                o for p in predictions for o in p.opinions if o.status is Status.ERROR
            ]
            if not error_opinions:
                for prediction in predictions:
                    if prediction.rejection:
                        self._log.write(
                            "limited", reason=prediction.rejection, hint=prediction.hint
                        )
                return True
            self._log.write("not ready", reason=error_opinions[0].provenance.get("error", ""))
            with self._condition:
                self._condition.wait_for(lambda: self._closed, self._limits.retry_seconds)
        return False

    def _predict_lane(self, _: Callable[[], None], predictor: Predictor, lane: int) -> None:
        while self._wait_for_posts(lane):
            with self._turns.turn(lane) if self._turns else nullcontext():
                batch = self._take_batch(lane)
                if batch:
                    self._process_batch(predictor, lane, batch)

    def _wait_for_posts(self, lane: int) -> bool:
        """Wait for posts, and a moment for those of requests on their way; False once closed."""
        queue = self._lanes[lane]
        with self._condition:
            while not queue and not self._closed:
                self._condition.wait()
            if self._closed:
                return False
            deadline = queue.oldest() + self._batching.wait_ms / 1000
            while self._n_expected and queue and queue.rows < self._batching.rows:
                remaining_seconds = min(deadline, self._expected_until) - time.monotonic()
                if self._closed or remaining_seconds <= 0:
                    break
                self._condition.wait(remaining_seconds)
            return not self._closed

    def _take_batch(self, lane: int) -> list[QueuedPost]:
        """Take posts up to the limits of a batch: one of each request in turn."""
        queue, batch, rows, work = self._lanes[lane], list[QueuedPost](), 0, 0
        max_work = math.inf if self._turns is None else _BATCH_WORK[lane]
        with self._condition:
            while queue:
                cost = queue.peek().cost
                if batch and (
                    rows + cost.rows > self._batching.rows or work + cost.work > max_work
                ):
                    break
                queued_post = queue.take()
                if queued_post.future.cancelled():
                    continue
                batch.append(queued_post)
                rows, work = rows + cost.rows, work + cost.work
            self._update_queue_metrics()
            self._in_progress[lane] = batch
        return batch

    def _process_batch(self, predictor: Predictor, lane: int, batch: list[QueuedPost]) -> None:
        started = self._last_progress[lane] = time.monotonic()
        try:
            with preemption_callback(lambda: self._at_preemption_point(lane, batch)):
                predictions = self._predict(predictor, [p.post for p in batch])
        except WorkCancelled:
            self._metrics.cancelled.inc(len(batch))
            return
        finally:
            self._last_progress.pop(lane, None)
        rows = sum(p.cost.rows for p in batch)
        self._metrics.prediction_seconds.observe(time.monotonic() - started)
        self._metrics.batch_rows.observe(rows)
        self._metrics.rows.inc(rows)
        self._call_in_loop(_deliver, batch, predictions)

    def _at_preemption_point(self, lane: int, batch: list[QueuedPost]) -> None:
        """Pause for shorter lanes.

        Raises:
            WorkCancelled: Nobody waits for the batch.
        """
        if self._closed or all(p.future.cancelled() for p in batch):
            raise WorkCancelled
        if self._turns:
            self._turns.give_way(lane)
        self._last_progress[lane] = time.monotonic()

    def _call_in_loop(self, callback: Callable[..., None], *args: object) -> None:
        """Call `callback` in the event loop."""
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            # The service has stopped without waiting for this batch: no client is left to answer.
            if not self._loop.is_closed():
                raise

    def _predict(self, predictor: Predictor, posts: list[Post]) -> list[Prediction]:
        try:
            predictions = predictor.predict(posts)
            if len(predictions) != len(posts):
                raise ValueError(f"{len(predictions)} predictions for {len(posts)} posts")
            return predictions
        except Exception as e:  # a model may raise anything; one post must not stop the others
            if len(posts) == 1:
                return [self._failed_prediction(e)]
            half = len(posts) // 2
            return self._predict(predictor, posts[:half]) + self._predict(predictor, posts[half:])

    def _failed_prediction(self, error: Exception) -> Prediction:
        if isinstance(error, UserError):
            return Prediction(rejection=error.problem, hint=error.hint)
        self._log.error("predictor failed", error)
        return Prediction(
            rejection=PREDICTOR_FAILED, hint="send it again; the server's log has details"
        )


def _deliver(batch: list[QueuedPost], predictions: list[Prediction]) -> None:
    for queued_post, prediction in zip(batch, predictions, strict=True):
        if not queued_post.future.done():
            queued_post.future.set_result(prediction)
