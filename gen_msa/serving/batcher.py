"""Batch posts of several clients in one thread; each prediction goes back to the request it is for.

The model lives in that thread: it is loaded there and no other thread touches it. The first post of
a batch waits for others only while another request is on its way, and at most `wait_ms`. Requests
contribute one post each in turn. Posts whose client has left are not predicted. A batch that fails
is halved until the failing post stands alone.

    batcher = DynamicBatcher(lambda: make(settings, root), settings, metrics, log)
    batcher.open(on_end=stop)
    predictions = await asyncio.gather(*batcher.submit(posts))
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gen_msa import answer_cache
from gen_msa.errors import UserError
from gen_msa.predictors import Prediction, Predictor
from gen_msa.serving.errors import RequestError
from gen_msa.serving.logs import JsonLog
from gen_msa.serving.prometheus import ServiceMetrics
from gen_msa.serving.settings import ServeSettings
from gen_msa.types import Aspect, Post, Status

_WARM_UP_POST = Post(id="probe", text="It was fine", aspects=(Aspect(term="It", start=0),))
_WARM_UP_POST_WITHOUT_ASPECTS = Post(id="probe", text="The soup was fine")
PREDICTOR_FAILED = "the model failed on this post"


@dataclass(eq=False)
class _QueuedPost:
    post: Post
    future: "asyncio.Future[Prediction]"
    queued_at: float

    @property
    def rows(self) -> int:
        return row_count(self.post)


def row_count(post: Post) -> int:
    """Count the rows of a post: its aspects, or one when the model must find them."""
    return max(1, len(post.aspects))


class DynamicBatcher:
    """Queue of posts, and the thread that predicts them."""

    def __init__(
        self,
        load: Callable[[], Predictor],
        settings: ServeSettings,
        metrics: ServiceMetrics,
        log: JsonLog,
    ) -> None:
        """Prepare the queue; `open` starts the thread.

        Args:
            load: Loads the model; called in the thread.
            settings: Batch size, waiting time and limits.
            metrics: Metrics to update.
            log: Log of readiness and failures.
        """
        self._load, self._metrics, self._log = load, metrics, log
        self._batching, self._limits = settings.batching, settings.limits
        self._queues: deque[deque[_QueuedPost]] = deque()  # one for each request; none is empty
        self._in_progress: list[_QueuedPost] = []
        self._queued_rows = 0
        self._n_expected = 0  # requests whose posts are not queued yet
        self._condition = threading.Condition()
        self._closed = False
        self._predicting_since: float | None = None
        self._loop: asyncio.AbstractEventLoop
        self.revision = ""
        """SHA-256 over everything that decides the answers; "" until the model is loaded."""
        self.failure: BaseException | None = None
        """Why the model could not be loaded, or what ended its thread."""

    def open(self, on_end: Callable[[], None]) -> None:
        """Start the thread; needs a running event loop.

        Args:
            on_end: Called in this event loop when the thread ends by itself.
        """
        self._loop = asyncio.get_running_loop()
        # A daemon: a model that never returns must not keep the process alive.
        threading.Thread(target=self._run, args=(on_end,), daemon=True, name="predictor").start()

    def close(self) -> None:
        """Start no further batch; the one in progress is not waited for."""
        with self._condition:
            self._closed = True
            self._condition.notify()

    def state(self) -> str:
        """Return `loading`, `ready`, `stuck` (a batch exceeds the request time) or `stopped`."""
        if self._closed or self.failure:
            return "stopped"
        since = self._predicting_since
        if since is not None and time.monotonic() - since > self._limits.seconds:
            return "stuck"
        return "ready" if self.revision else "loading"

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Announce a request for the time of the context: a batch waits a little for its posts."""
        with self._condition:
            self._n_expected += 1
        try:
            yield
        finally:
            with self._condition:
                self._n_expected -= 1
                self._condition.notify()

    def submit(self, posts: Sequence[Post]) -> "list[asyncio.Future[Prediction]]":
        """Queue posts; a post whose future is cancelled before its batch starts is not predicted.

        Returns:
            One future for each post.

        Raises:
            RequestError: 503 while the model is loading or stuck, or when the queue is full.
        """
        now, n_rows = time.monotonic(), sum(map(row_count, posts))
        with self._condition:
            if (state := self.state()) != "ready":
                raise self._busy_error(f"the model is {state}")
            # An empty queue takes any request, so that none is refused forever.
            if self._queued_rows and self._queued_rows + n_rows > self._limits.queue_rows:
                raise self._busy_error(f"{self._queued_rows} rows already wait for the model")
            queued_posts = [_QueuedPost(p, self._loop.create_future(), now) for p in posts]
            if queued_posts:
                self._queues.append(deque(queued_posts))
            self._add_queued_rows(n_rows)
            self._condition.notify()
        return [p.future for p in queued_posts]

    def _busy_error(self, reason: str) -> RequestError:
        return RequestError(
            503, reason, "send it again later", retry_after=self._limits.retry_seconds
        )

    def _add_queued_rows(self, rows: int) -> None:
        self._queued_rows += rows
        self._metrics.queued_rows.set(self._queued_rows)

    def _run(self, on_end: Callable[[], None]) -> None:
        try:
            predictor = self._load()
            if not self._warm_up(predictor):
                return
            self.revision = answer_cache.hash_key(predictor.fingerprint())
            self._metrics.ready.set(1)
            self._log.write("ready", revision=self.revision)
            while (batch := self._next_batch()) is not None:
                self._process_batch(predictor, batch)
        except BaseException as e:  # whatever ends the thread ends the service, which reports it
            self.failure = e
            self._metrics.ready.set(0)
            with self._condition:
                unanswered = [*self._in_progress, *(p for queue in self._queues for p in queue)]
                self._queues.clear()
            stopped_prediction = Prediction(
                rejection="the model has stopped", hint="send it again later"
            )
            self._call_in_loop(_deliver, unanswered, [stopped_prediction] * len(unanswered))
            self._call_in_loop(on_end)

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

    def _next_batch(self) -> list[_QueuedPost] | None:
        """Return the posts of the next batch; None once closed."""
        with self._condition:
            while not self._queues and not self._closed:
                self._condition.wait()
            if self._closed:
                return None
            deadline = (
                min(queue[0].queued_at for queue in self._queues) + self._batching.wait_ms / 1000
            )
            while self._n_expected and self._queued_rows < self._batching.rows and not self._closed:
                remaining_seconds = deadline - time.monotonic()
                if remaining_seconds <= 0 or not self._condition.wait(remaining_seconds):
                    break
            return self._take_batch()

    def _take_batch(self) -> list[_QueuedPost]:
        """Take one post of each request in turn, so that a long request delays no short one."""
        batch: list[_QueuedPost] = []
        rows, max_rows = 0, self._batching.rows
        while self._queues and (not rows or rows + self._queues[0][0].rows <= max_rows):
            queue = self._queues.popleft()
            queued_post = queue.popleft()
            if queue:
                self._queues.append(queue)
            self._add_queued_rows(-queued_post.rows)
            if not queued_post.future.cancelled():
                batch.append(queued_post)
                rows += queued_post.rows
        return batch

    def _process_batch(self, predictor: Predictor, batch: list[_QueuedPost]) -> None:
        if not batch:
            return
        self._in_progress, rows = batch, sum(p.rows for p in batch)
        started = self._predicting_since = time.monotonic()
        predictions = self._predict(predictor, [p.post for p in batch])
        self._predicting_since = None
        self._metrics.prediction_seconds.observe(time.monotonic() - started)
        self._metrics.batch_rows.observe(rows)
        self._metrics.rows.inc(rows)
        self._call_in_loop(_deliver, batch, predictions)

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


def _deliver(batch: list[_QueuedPost], predictions: list[Prediction]) -> None:
    for queued_post, prediction in zip(batch, predictions, strict=True):
        if not queued_post.future.done():
            queued_post.future.set_result(prediction)
