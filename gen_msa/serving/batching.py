"""Posts of several clients, read together by one thread; each reading goes back to its own asker.

The reader lives in that thread: it is made there and nobody else touches it. The first post of a
reading waits for company only while another request is on its way, and at most `wait_ms`. Requests
give a post each in turn. What a client no longer waits for is not read. When a reading fails it is
halved until the post that fails stands alone. Knows nothing of HTTP.

    desk = Desk(lambda: make(settings, root), settings, figures, log)
    desk.open(on_end=print); readings = await asyncio.gather(*desk.ask(posts))
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gen_msa import ledger
from gen_msa.errors import UserError
from gen_msa.readers import Reader, Reading
from gen_msa.serving.figures import Figures
from gen_msa.serving.logs import Log
from gen_msa.serving.problems import Refusal
from gen_msa.serving.settings import ServeSettings
from gen_msa.types import Aspect, Post, Status

_PROBE = Post(id="probe", text="It was fine", aspects=(Aspect(term="It", start=0),))
_BARE = Post(id="probe", text="The soup was fine")
FAILED = "the reader failed on this post"


@dataclass(eq=False)
class _Ticket:
    post: Post
    future: "asyncio.Future[Reading]"
    came: float

    @property
    def rows(self) -> int:
        return rows_of(self.post)


def rows_of(post: Post) -> int:
    """Rows of a post: its aspects, or one that the reader will find."""
    return max(1, len(post.aspects))


class Desk:
    """Where posts are handed in, and the thread behind it."""

    def __init__(
        self, load: Callable[[], Reader], settings: ServeSettings, figures: Figures, log: Log
    ) -> None:
        self._load, self._figures, self._log = load, figures, log
        self._batching, self._limits = settings.batching, settings.limits
        self._lines: deque[deque[_Ticket]] = deque()  # one a request; none is empty
        self._now: list[_Ticket] = []  # what is being read
        self._queued = 0  # rows
        self._coming = 0  # requests whose posts are not here yet
        self._changed = threading.Condition()
        self._closed = False
        self._reading_since: float | None = None
        self._loop: asyncio.AbstractEventLoop
        self.revision = ""
        """sha256 over everything that decides the reader's answers; `""` until it is loaded."""
        self.failure: BaseException | None = None
        """Why the reader could not be loaded, or what ended its thread."""

    def open(self, on_end: Callable[[], None]) -> None:
        """Start the thread; `on_end` is called in this event loop should it end by itself."""
        self._loop = asyncio.get_running_loop()
        # A daemon: a reader that never comes back must not keep the process alive.
        threading.Thread(target=self._work, args=(on_end,), daemon=True, name="reader").start()

    def close(self) -> None:
        """No more readings; the one under way is not waited for."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def state(self) -> str:
        """`loading`, `ready`, `stuck` (one reading takes longer than a request may), `stopped`."""
        if self._closed or self.failure:
            return "stopped"
        since = self._reading_since
        if since is not None and time.monotonic() - since > self._limits.seconds:
            return "stuck"
        return "ready" if self.revision else "loading"

    @contextmanager
    def coming(self) -> Iterator[None]:
        """While inside, somebody is on the way: a reading waits a little for their posts."""
        with self._changed:
            self._coming += 1
        try:
            yield
        finally:
            with self._changed:
                self._coming -= 1
                self._changed.notify()

    def ask(self, posts: Sequence[Post]) -> "list[asyncio.Future[Reading]]":
        """Hand posts in. Raises `Refusal` (503) while the reader loads, or is behind.

        A post whose future is cancelled before its turn is not read.
        """
        now, wanted = time.monotonic(), sum(map(rows_of, posts))
        with self._changed:
            if (state := self.state()) != "ready":
                raise self._later(f"the reader is {state}")
            # An empty queue takes any request, so that none is refused for ever.
            if self._queued and self._queued + wanted > self._limits.queue_rows:
                raise self._later(f"{self._queued} rows wait for the reader already")
            tickets = [_Ticket(p, self._loop.create_future(), now) for p in posts]
            if tickets:
                self._lines.append(deque(tickets))
            self._count(wanted)
            self._changed.notify()
        return [t.future for t in tickets]

    def _later(self, why: str) -> Refusal:
        return Refusal(503, why, "send it again later", retry=self._limits.retry_seconds)

    def _count(self, rows: int) -> None:
        self._queued += rows
        self._figures.queue.set(self._queued)

    def _work(self, on_end: Callable[[], None]) -> None:
        try:
            reader = self._load()
            if not self._proven(reader):
                return
            self.revision = ledger.key(reader.fingerprint())
            self._figures.ready.set(1)
            self._log.write("ready", revision=self.revision)
            while (batch := self._next()) is not None:
                self._answer(reader, batch)
        except BaseException as e:  # whatever ends the thread ends the service, and is told
            self.failure = e
            self._figures.ready.set(0)
            with self._changed:
                left = [*self._now, *(t for line in self._lines for t in line)]
                self._lines.clear()
            ended = Reading(refused="the reader has ended", mend="send it again later")
            self._tell(_deliver, left, [ended] * len(left))
            self._tell(on_end)

    def _proven(self, reader: Reader) -> bool:
        """Whether it answers; asked until it does. What loads on first use is loaded then.

        False: closed meanwhile. Who cannot find aspects says so, and reads what comes with them.
        """
        while not self._closed:
            readings = reader.read([_PROBE])
            try:
                readings += reader.read([_BARE])
            except UserError as e:
                readings.append(Reading(refused=e.problem, mend=e.mend))
            said = [o for r in readings for o in r.opinions if o.status is Status.ERROR]
            if not said:
                for r in (r for r in readings if r.refused):
                    self._log.write("limited", reason=r.refused, mend=r.mend)
                return True
            self._log.write("not ready", reason=said[0].how.get("error", ""))
            with self._changed:
                self._changed.wait_for(lambda: self._closed, self._limits.retry_seconds)
        return False

    def _next(self) -> list[_Ticket] | None:
        """The posts of the next reading; None once closed."""
        with self._changed:
            while not self._lines and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            until = min(line[0].came for line in self._lines) + self._batching.wait_ms / 1000
            while self._coming and self._queued < self._batching.rows and not self._closed:
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            return self._taken()

    def _taken(self) -> list[_Ticket]:
        """One post of each request in turn, so that a long request holds up no short one."""
        batch: list[_Ticket] = []
        rows, most = 0, self._batching.rows
        while self._lines and (not rows or rows + self._lines[0][0].rows <= most):
            line = self._lines.popleft()
            ticket = line.popleft()
            if line:
                self._lines.append(line)
            self._count(-ticket.rows)
            if not ticket.future.cancelled():
                batch.append(ticket)
                rows += ticket.rows
        return batch

    def _answer(self, reader: Reader, batch: list[_Ticket]) -> None:
        if not batch:
            return
        self._now, rows = batch, sum(t.rows for t in batch)
        began = self._reading_since = time.monotonic()
        readings = self._read(reader, [t.post for t in batch])
        self._reading_since = None
        self._figures.reading.observe(time.monotonic() - began)
        self._figures.batch.observe(rows)
        self._figures.rows.inc(rows)
        self._tell(_deliver, batch, readings)

    def _tell(self, call: Callable[..., None], *what: object) -> None:
        """Have `call` done in the event loop."""
        try:
            self._loop.call_soon_threadsafe(call, *what)
        except RuntimeError:
            # The service has stopped without waiting for this reading: nobody is left to be told.
            if not self._loop.is_closed():
                raise

    def _read(self, reader: Reader, posts: list[Post]) -> list[Reading]:
        try:
            readings = reader.read(posts)
            if len(readings) != len(posts):
                raise ValueError(f"{len(readings)} readings of {len(posts)} posts")
            return readings
        except Exception as e:  # a reader may raise anything; one post is not to stop the others
            if len(posts) == 1:
                return [self._failed(e)]
            half = len(posts) // 2
            return self._read(reader, posts[:half]) + self._read(reader, posts[half:])

    def _failed(self, error: Exception) -> Reading:
        if isinstance(error, UserError):
            return Reading(refused=error.problem, mend=error.mend)
        self._log.error("reader failed", error)
        return Reading(refused=FAILED, mend="send it again; the server's log says more")


def _deliver(batch: list[_Ticket], readings: list[Reading]) -> None:
    for ticket, reading in zip(batch, readings, strict=True):
        if not ticket.future.done():
            ticket.future.set_result(reading)
