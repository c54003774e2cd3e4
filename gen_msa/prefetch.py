"""Work that runs ahead of its consumer in threads: decoding images, building prompts and batches.

An error of a thread is raised where its item is taken. A consumer that stops does not wait for the
items still in work.

    for batch in prefetch(map(build_batch, steps), buffer_size=1): ...
    for result in ordered_concurrent_map((partial(run, step) for step in steps), 2): ...
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
_POLL_INTERVAL_S = 0.2
"""Seconds between checks whether the caller was cancelled."""


def prefetch(source: Iterator[T], buffer_size: int) -> Generator[T, None, None]:
    """Iterate over `source` with up to `buffer_size` items computed ahead in a thread.

    Args:
        source: Iterator that a background thread consumes.
        buffer_size: Items held before they are taken; 0 for no thread.

    Yields:
        The items of `source`, in order.
    """
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
        except BaseException as e:  # re-raised in the consumer, whatever it is
            put("error", e)

    thread = threading.Thread(target=produce, name="prefetch", daemon=True)
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
    """Run calls in threads and yield their results in order.

    When the consumer stops early, running calls see `is_cancelled()`.

    Args:
        calls: Functions without arguments, taken from the iterator as threads become free.
        max_concurrent: Most calls running at once; 1 for no thread.

    Yields:
        The result of each call, in the order of `calls`.
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
            except Exception as e:  # raised after the results of the calls before it
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
    """Return whether the consumer of this thread's work has stopped."""
    cancel = _cancel_event.get()
    return cancel is not None and cancel.is_set()


def awaited(future: Future[T]) -> T:
    """Wait for work in another thread, and cancel it when this thread's own work is cancelled.

    Args:
        future: Result of the work.

    Returns:
        The result of `future`.

    Raises:
        CancelledError: The work of this thread was cancelled. Errors of `future` are raised as they
            are.
    """
    try:
        while not wait([future], _POLL_INTERVAL_S).done:
            if is_cancelled():
                raise CancelledError
        return future.result()
    except BaseException:
        future.cancel()  # also when this thread is interrupted
        raise


_cancel_event: ContextVar[threading.Event | None] = ContextVar("cancel_event", default=None)


def _start_thread(call: Callable[[], T], cancel: threading.Event) -> Future[T]:
    """Run `call` in a daemon thread, which the process does not wait for at its end."""
    future: Future[T] = Future()

    def run() -> None:
        _cancel_event.set(cancel)
        try:
            future.set_result(call())
        except BaseException as e:  # re-raised by `future.result()`
            future.set_exception(e)

    threading.Thread(target=run, name="ordered_concurrent_map", daemon=True).start()
    return future
