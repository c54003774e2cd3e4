"""Readers at work: chunks of posts go in, readings come out in the same order.

One reader in this process, or one in each of several worker processes. Knows nothing of ledgers or
files; holds at most two chunks a worker.
"""

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

from gen_msa import readers
from gen_msa.errors import UserError
from gen_msa.readers import Reader, ReaderSettings, Reading
from gen_msa.types import Post

W = TypeVar("W")
Work = tuple[W, Sequence[Post]]

_reader: Reader | None = None
"""The worker process' own reader; None in the parent."""


def read_alone(reader: Reader, work: Iterable[Work[W]]) -> Iterator[tuple[W, list[Reading]]]:
    """Read every piece of work in this process. `W` is carried along untouched."""
    for carried, posts in work:
        yield carried, reader.read(posts) if posts else []


def read_together(
    settings: ReaderSettings, root: Path, workers: int, work: Iterable[Work[W]]
) -> Iterator[tuple[W, list[Reading]]]:
    """Read every piece of work in `workers` processes; results come in the order of the work."""
    spawn = multiprocessing.get_context("spawn")
    waiting: deque[tuple[W, Future[list[Reading]] | None]] = deque()
    with ProcessPoolExecutor(workers, spawn, _start, (settings, root)) as pool:
        try:
            for carried, posts in work:
                waiting.append((carried, pool.submit(_read, posts) if posts else None))
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


def _start(settings: ReaderSettings, root: Path) -> None:
    global _reader
    _reader = readers.make(settings, root)


def _read(posts: Sequence[Post]) -> list[Reading]:
    if _reader is None:
        raise RuntimeError("worker started without a reader")
    return _reader.read(posts)
