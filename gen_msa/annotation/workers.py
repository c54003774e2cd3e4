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
from typing import Protocol, TypeVar

from pydantic import JsonValue

from gen_msa import media, predictors
from gen_msa.annotation.filtered import FilteredTeacher
from gen_msa.annotation.output import PendingChunk, chunks
from gen_msa.annotation.settings import AnnotateSettings, JobSettings, Shard
from gen_msa.answer_cache import AnswerCache, hash_key
from gen_msa.data import ExampleSource
from gen_msa.errors import UserError
from gen_msa.predictors import Continuation, Prediction, Predictor, RequestPreview
from gen_msa.prefetch import ordered_concurrent_map, prefetch
from gen_msa.types import Example

# Who is asked: a plain reader, or one whose answers go through gates (`_gated`).


class Teacher(Protocol):
    """Adds opinions to the posts of examples; of these it sees no opinion but gold it may see."""

    @property
    def is_concurrent(self) -> bool:
        """Whether it may read in several threads at once, and gains by it."""
        ...

    def prepare(self, examples: Sequence[Example]) -> Continuation:
        """What can be done before a model is asked; may be called in another thread."""
        ...

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """One `Reading` for each example, in order."""
        ...

    def preview(self, examples: Sequence[Example]) -> list[RequestPreview]:
        """The questions that would be asked first, unasked; none by what is asked nothing."""
        ...

    def fingerprint(self) -> dict[str, JsonValue]:
        """Changes whenever its readings could; the ledger's key."""
        ...


class PredictorTeacher:
    """A reader as it is."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.is_concurrent = predictors.is_concurrent(predictor)

    def prepare(self, examples: Sequence[Example]) -> Continuation:
        """All but asking the model, of a reader that knows the difference."""
        return predictors.prepare(self._predictor, [e.post for e in examples])

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """What the reader says."""
        return self.prepare(examples)()

    def preview(self, examples: Sequence[Example]) -> list[RequestPreview]:
        """The reader's questions."""
        return self._predictor.preview([e.post for e in examples])

    def fingerprint(self) -> dict[str, JsonValue]:
        """The reader's own."""
        return self._predictor.fingerprint()


def make_teacher(settings: JobSettings, media_root: Path) -> Teacher:
    """Who answers a job; loads its models."""
    # The chunks that are being read and the two that are made ready, a picture a post.
    media.resize_cache(4 * settings.chunk, settings.image)
    if isinstance(settings, AnnotateSettings):
        return FilteredTeacher(settings, media_root)
    return PredictorTeacher(predictors.make(settings.predictor_settings(), media_root))


def visible_to_teacher(settings: JobSettings, example: Example) -> Example:
    """What of an example its teacher is given: the post, and gold only where it may guide."""
    sees_gold = isinstance(settings, AnnotateSettings) and settings.reveals_label
    return Example(post=example.post, opinions=example.opinions_by("gold") if sees_gold else ())


# What is left to be done of a source: chunks, and of each the posts that the ledger does not know.

FULL_SOURCE = Shard()


def pending_chunks(
    source: ExampleSource,
    settings: JobSettings,
    fingerprint: str,
    cache: AnswerCache | None,
    shard: Shard = FULL_SOURCE,
) -> Iterator[tuple[PendingChunk, list[Example]]]:
    """Each chunk of the shard with the posts that still have to be read.

    Without a ledger the keys are empty, but for readers on other machines, which compare them.
    """
    for chunk in chunks(source, settings.chunk, settings.limit, settings.model):
        if not shard.owns(chunk.index):
            continue
        visible = [visible_to_teacher(settings, e) for e in chunk.examples]
        if cache is None and settings.engine == "local":
            yield PendingChunk(chunk, [""] * len(visible), {}), visible
            continue
        keys = [cache_key(fingerprint, e, source.media_root, settings) for e in visible]
        cached = cache.get(keys) if cache is not None else {}
        unanswered = [e for e, k in zip(visible, keys, strict=True) if k not in cached]
        yield PendingChunk(chunk, keys, cached), unanswered


def cache_key(fingerprint: str, visible: Example, root: Path, settings: JobSettings) -> str:
    """Changes with the post, its pictures' bytes, and anything that shapes the reader's answer."""
    post = visible.post
    media_digests: list[JsonValue] = [media.digest(m, root, settings.image) for m in post.media]
    parts: dict[str, JsonValue] = {"predictor": fingerprint, "post": post.model_dump_json()}
    if visible.opinions:
        parts["gold"] = [o.model_dump_json() for o in visible.opinions]
    return hash_key({**parts, "media": media_digests})


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
    prepared_chunks = (
        (item, teacher.prepare(examples) if examples else None) for item, examples in work
    )
    with closing(prefetch(prepared_chunks, buffer_size=1)) as chunk_stream:
        calls = (partial(_finish_chunk, on_answer, *chunk) for chunk in chunk_stream)
        yield from ordered_concurrent_map(calls, CONCURRENT_CHUNKS if teacher.is_concurrent else 1)


def _finish_chunk(
    on_answer: OnAnswer[W], item: W, continuation: Continuation | None
) -> tuple[W, list[Prediction]]:
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


def _next_result(
    pending: deque[tuple[W, Future[list[Prediction]] | None]],
) -> tuple[W, list[Prediction]]:
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
