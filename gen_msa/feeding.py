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


def ahead(source: Iterator[T], ready: int) -> Generator[T, None, None]:
    """The items of `source`, at most `ready` of them made before they are taken; 0: no thread."""
    if ready == 0:
        yield from source
        return
    room: queue.Queue[tuple[str, T | BaseException | None]] = queue.Queue(ready)
    stop = threading.Event()

    def put(kind: str, item: T | BaseException | None) -> None:
        while not stop.is_set():
            try:
                room.put((kind, item), timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in source:
                put("item", item)
                if stop.is_set():
                    return
            put("end", None)
        except BaseException as e:  # handed to the taker, whatever it is
            put("error", e)

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, item = room.get()
            if kind == "end":
                return
            if kind == "error":
                raise item  # type: ignore[misc]
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join(timeout=5)


def at_once(works: Iterator[Callable[[], T]], most: int) -> Generator[T, None, None]:
    """What each of `works` returns, in their order, while at most `most` are done; 1: no thread.

    For who stops taking, the works begun are `given_up`.
    """
    if most == 1:
        yield from (work() for work in works)
        return
    over = threading.Event()
    begun: deque[Future[T]] = deque()
    error: Exception | None = None
    try:
        while error is None:
            try:
                begun.append(_begun(next(works), over))
            except StopIteration:
                break
            except Exception as e:  # raised in its turn: what is begun before it comes first
                error = e
            if len(begun) == most:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
        if error is not None:
            raise error
    finally:
        over.set()


def given_up() -> bool:
    """Whether nobody takes any more what this thread works at: it may as well stop."""
    over = _over.get()
    return over is not None and over.is_set()


def awaited(future: Future[T]) -> T:
    """Wait for the result of work in another thread, and cancel it where it is not wanted any more.

    Raises what the work raised, `CancelledError` when this thread's work is `given_up`.
    """
    try:
        while not wait([future], _LOOK).done:
            if given_up():
                raise CancelledError
        return future.result()
    except BaseException:
        future.cancel()  # also where this thread is interrupted
        raise


_over: ContextVar[threading.Event | None] = ContextVar("nobody waits", default=None)


def _begun(work: Callable[[], T], over: threading.Event) -> Future[T]:
    """`work` in a thread of its own, for which the process does not wait at its end."""
    told: Future[T] = Future()

    def run() -> None:
        _over.set(over)
        try:
            told.set_result(work())
        except BaseException as e:  # handed to the taker, whatever it is
            told.set_exception(e)

    threading.Thread(target=run, name="at once", daemon=True).start()
    return told
