"""Things made ready ahead of a model by one thread: pictures decoded, questions written, batches.

Knows nothing of models. An error of the thread is raised where its item is taken; who stops taking
does not wait for what is being made.

    for step in ahead(make(step) for step in steps): ...
"""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

T = TypeVar("T")


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
