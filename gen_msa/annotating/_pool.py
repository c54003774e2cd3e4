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
from gen_msa.feeding import prefetch, ordered_concurrent_map
from gen_msa.readers import Continuation, Prediction
from gen_msa.types import Example

CONCURRENT_CHUNKS = 2
"""Pieces that a server is asked about at once."""

W = TypeVar("W")
Work = tuple[W, Sequence[Example]]
OnAnswer = Callable[[W, list[Prediction]], None]


def _no_cache(item: object, predictions: list[Prediction]) -> None:
    """Keeps nothing before its turn."""


_teacher: Teacher | None = None
"""The worker process' own teacher; None in the parent."""


def predict_in_process(
    teacher: Teacher, work: Iterable[Work[W]], on_answer: OnAnswer[W] = _no_cache
) -> Iterator[tuple[W, list[Prediction]]]:
    """Read every piece of work in this process. `W` is carried along untouched.

    `keep` is called with each as soon as it is read, in any thread; results come in order.

    While the model is asked about one piece, a thread takes up the next two, decodes their pictures
    and writes their questions: a model on a GPU or a server need not wait for that. A server that
    takes questions from all sides is asked about two pieces together, or it would have ever less to
    do towards the end of each.
    """
    prepared_chunks = ((item, teacher.prepare(examples) if examples else None) for item, examples in work)
    with closing(prefetch(prepared_chunks, buffer_size=1)) as chunk_stream:
        calls = (partial(_finish_chunk, on_answer, *chunk) for chunk in chunk_stream)
        yield from ordered_concurrent_map(calls, CONCURRENT_CHUNKS if teacher.is_concurrent else 1)


def _finish_chunk(on_answer: OnAnswer[W], item: W, continuation: Continuation | None) -> tuple[W, list[Prediction]]:
    predictions = continuation() if continuation else []
    on_answer(item, predictions)
    return item, predictions


def predict_in_workers(
    settings: JobSettings,
    root: Path,
    workers: int,
    work: Iterable[Work[W]],
    on_answer: OnAnswer[W] = _no_cache,
) -> Iterator[tuple[W, list[Prediction]]]:
    """Read every piece of work in `workers` processes; results come in the order of the work.

    `keep` as for `read_alone`.
    """
    spawn = multiprocessing.get_context("spawn")
    pending: deque[tuple[W, Future[list[Prediction]] | None]] = deque()
    with ProcessPoolExecutor(workers, spawn, _init_worker, (settings, root)) as pool:
        try:
            for item, examples in work:
                future = pool.submit(_predict_in_worker, examples) if examples else None
                if future:
                    future.add_done_callback(partial(_cache_result, on_answer, item))
                pending.append((item, future))
                if len(pending) > 2 * workers:
                    yield _next_result(pending)
            while pending:
                yield _next_result(pending)
        except BrokenProcessPool as e:
            raise UserError(
                "a worker process died",
                hint="run the same command again: finished rows are kept; use fewer workers if "
                "memory ran out",
            ) from e
        finally:
            pool.shutdown(cancel_futures=True)


def _next_result(pending: deque[tuple[W, Future[list[Prediction]] | None]]) -> tuple[W, list[Prediction]]:
    item, future = pending.popleft()
    return item, future.result() if future else []


def _cache_result(on_answer: OnAnswer[W], item: W, future: Future[list[Prediction]]) -> None:
    if not future.cancelled() and future.exception() is None:
        on_answer(item, future.result())


def _init_worker(settings: JobSettings, root: Path) -> None:
    global _teacher
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _teacher = make_teacher(settings, root)


def _exit_with_parent() -> None:
    """A worker whose job was killed would keep its model in memory, and wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _predict_in_worker(examples: Sequence[Example]) -> list[Prediction]:
    if _teacher is None:
        raise RuntimeError("worker started without a teacher")
    return _teacher.predict(examples)
