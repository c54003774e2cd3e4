"""Teachers at work: chunks of posts go in, readings come out in the same order.

One teacher in this process, or one in each of several worker processes. Knows nothing of ledgers or
files; holds at most two chunks a worker.
"""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

from gen_msa.annotating._settings import JobSettings
from gen_msa.annotating._teaching import Teacher, make_teacher
from gen_msa.errors import UserError
from gen_msa.feeding import ahead, at_once
from gen_msa.readers import Finish, Reading
from gen_msa.types import Example

TOGETHER = 2
"""Pieces that a server is asked about at once."""

W = TypeVar("W")
Work = tuple[W, Sequence[Example]]
Keep = Callable[[W, list[Reading]], None]


def _forget(carried: object, readings: list[Reading]) -> None:
    """Keeps nothing before its turn."""


_teacher: Teacher | None = None
"""The worker process' own teacher; None in the parent."""


def read_alone(
    teacher: Teacher, work: Iterable[Work[W]], keep: Keep[W] = _forget
) -> Iterator[tuple[W, list[Reading]]]:
    """Read every piece of work in this process. `W` is carried along untouched.

    `keep` is called with each as soon as it is read, in any thread; results come in order.

    While the model is asked about one piece, a thread takes up the next two, decodes their pictures
    and writes their questions: a model on a GPU or a server need not wait for that. A server that
    takes questions from all sides is asked about two pieces together, or it would have ever less to
    do towards the end of each.
    """
    ready = ((c, teacher.prepare(examples) if examples else None) for c, examples in work)
    with closing(ahead(ready, ready=1)) as pieces:
        asking = (partial(_asked, keep, *piece) for piece in pieces)
        yield from at_once(asking, TOGETHER if teacher.overlaps else 1)


def _asked(keep: Keep[W], carried: W, finish: Finish | None) -> tuple[W, list[Reading]]:
    readings = finish() if finish else []
    keep(carried, readings)
    return carried, readings


def read_together(
    settings: JobSettings,
    root: Path,
    workers: int,
    work: Iterable[Work[W]],
    keep: Keep[W] = _forget,
) -> Iterator[tuple[W, list[Reading]]]:
    """Read every piece of work in `workers` processes; results come in the order of the work.

    `keep` as for `read_alone`.
    """
    spawn = multiprocessing.get_context("spawn")
    waiting: deque[tuple[W, Future[list[Reading]] | None]] = deque()
    with ProcessPoolExecutor(workers, spawn, _start, (settings, root)) as pool:
        try:
            for carried, examples in work:
                future = pool.submit(_read, examples) if examples else None
                if future:
                    future.add_done_callback(partial(_kept, keep, carried))
                waiting.append((carried, future))
                if len(waiting) > 2 * workers:
                    yield _next(waiting)
            while waiting:
                yield _next(waiting)
        except BrokenProcessPool as e:
            raise UserError(
                "a worker process died",
                mend="run the same command again: finished rows are kept; use fewer workers if "
                "memory ran out",
            ) from e
        finally:
            pool.shutdown(cancel_futures=True)


def _next(waiting: deque[tuple[W, Future[list[Reading]] | None]]) -> tuple[W, list[Reading]]:
    carried, future = waiting.popleft()
    return carried, future.result() if future else []


def _kept(keep: Keep[W], carried: W, future: Future[list[Reading]]) -> None:
    if not future.cancelled() and future.exception() is None:
        keep(carried, future.result())


def _start(settings: JobSettings, root: Path) -> None:
    global _teacher
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _teacher = make_teacher(settings, root)


def _end_with_parent() -> None:
    """A worker whose job was killed would keep its model in memory, and wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _read(examples: Sequence[Example]) -> list[Reading]:
    if _teacher is None:
        raise RuntimeError("worker started without a teacher")
    return _teacher.read(examples)
