"""One event loop in a thread of its own, for callers in any thread, as long as there is one.

Knows nothing of what is run. Callers meet in one loop, so that what must hold for all of them
together (how many calls are in flight) can be kept without locks; notebooks, which run a loop of
their own, are callers like others. The work of who is interrupted or given up is cancelled.

    shared = SharedLoop(); shared.run(some_coroutine())      # from any thread
"""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future, wait
from typing import Any, TypeVar

from gen_msa.feeding import given_up

_LOOK = 0.2
"""Seconds between looks whether the answer is still wanted."""

T = TypeVar("T")


class SharedLoop:
    """Starts with the first caller and ends with the last; nothing stays behind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callers = 0
        self._running: _Running | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns or raises; it runs beside the work of other callers."""
        loop = self._enter()
        try:
            return self._waited(asyncio.run_coroutine_threadsafe(work, loop))
        finally:
            self._leave()

    def _waited(self, future: Future[T]) -> T:
        try:
            while not wait([future], _LOOK).done:
                if given_up():
                    raise CancelledError
            return future.result()
        except BaseException:
            future.cancel()  # nothing is asked any more for one who was interrupted
            raise

    def _enter(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            self._running = self._running or _Running()
            self._callers += 1
            return self._running.loop

    def _leave(self) -> None:
        with self._lock:
            self._callers -= 1
            if self._running and not self._callers:
                # Forgotten first: whoever is interrupted here must not leave an ended loop behind.
                ending, self._running = self._running, None
                ending.end()


class _Running:
    """The loop at work; `end` comes back once all of it is gone."""

    def __init__(self) -> None:
        begun: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        ready = threading.Event()

        async def until_told() -> None:
            begun.append((asyncio.get_running_loop(), asyncio.Event()))
            ready.set()
            await begun[0][1].wait()

        work = threading.Thread(
            target=lambda: asyncio.run(until_told()), name="shared-loop", daemon=True
        )
        work.start()
        ready.wait()
        self.loop, self._told = begun[0]
        self._thread = work

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self._told.set)
        self._thread.join()
