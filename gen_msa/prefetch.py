"""Work done ahead of who needs it, in threads: pictures decoded, questions written, batches made.

Knows nothing of models. An error of a thread is raised where its item is taken; who stops taking
does not wait for what is being made.

    for step in ahead((make(step) for step in steps), ready=1): ...
    for made in at_once((partial(make, step) for step in steps), 2): ...
    answer = awaited(portal.start_task_soon(ask))
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
_LOOK = 0.2
"""Seconds between looks whether a result is still wanted."""


def prefetch(source: Iterator[T], buffer_size: int) -> Generator[T, None, None]:
    """The items of `source`, at most `ready` of them made before they are taken; 0: no thread."""
    if buffer_size == 0:
        yield from source
        return
    buffer: queue.Queue[tuple[str, T | BaseException | None]] = queue.Queue(buffer_size)
    stop = threading.Event()

    def put(kind: str, item: T | BaseException | None) -> None:
        while not stop.is_set():
            try:
                buffer.put((kind, item), timeout=0.1)
                return
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for item in source:
                put("item", item)
                if stop.is_set():
                    return
            put("end", None)
        except BaseException as e:  # handed to the taker, whatever it is
            put("error", e)

    thread = threading.Thread(target=produce, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, item = buffer.get()
            if kind == "end":
                return
            if kind == "error":
                raise item  # type: ignore[misc]
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join(timeout=5)


def ordered_concurrent_map(
    calls: Iterator[Callable[[], T]], max_concurrent: int
) -> Generator[T, None, None]:
    """What each of `works` returns, in their order, while at most `most` are done; 1: no thread.

    For who stops taking, the works begun are `given_up`.
    """
    if max_concurrent == 1:
        yield from (call() for call in calls)
        return
    cancel = threading.Event()
    futures: deque[Future[T]] = deque()
    error: Exception | None = None
    try:
        while error is None:
            try:
                futures.append(_start_thread(next(calls), cancel))
            except StopIteration:
                break
            except Exception as e:  # raised in its turn: what is begun before it comes first
                error = e
            if len(futures) == max_concurrent:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
        if error is not None:
            raise error
    finally:
        cancel.set()


def is_cancelled() -> bool:
    """Whether nobody takes any more what this thread works at: it may as well stop."""
    cancel = _cancel_event.get()
    return cancel is not None and cancel.is_set()


def awaited(future: Future[T]) -> T:
    """Wait for the result of work in another thread, and cancel it where it is not wanted any more.

    Raises what the work raised, `CancelledError` when this thread's work is `given_up`.
    """
    try:
        while not wait([future], _LOOK).done:
            if is_cancelled():
                raise CancelledError
        return future.result()
    except BaseException:
        future.cancel()  # also where this thread is interrupted
        raise


_cancel_event: ContextVar[threading.Event | None] = ContextVar("nobody waits", default=None)


def _start_thread(call: Callable[[], T], cancel: threading.Event) -> Future[T]:
    """`work` in a thread of its own, for which the process does not wait at its end."""
    future: Future[T] = Future()

    def run() -> None:
        _cancel_event.set(cancel)
        try:
            future.set_result(call())
        except BaseException as e:  # handed to the taker, whatever it is
            future.set_exception(e)

    threading.Thread(target=run, name="at once", daemon=True).start()
    return future
