"""Workers of a job: chunks of posts in, predictions out, in the same order.

One teacher in this process, or one in each of several worker processes; at most two chunks per
worker are in memory.
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


class Teacher(Protocol):
    """Adds opinions to the posts of examples. It sees no other opinions, except permitted gold."""

    @property
    def is_concurrent(self) -> bool:
        """Whether several threads may call it at once and gain by it."""
        ...

    def prepare(self, examples: Sequence[Example]) -> Continuation:
        """Do the work that needs no model; may run in another thread.

        Returns:
            A function that runs the model and returns one prediction per example.
        """
        ...

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return one `Prediction` per example, in order."""
        ...

    def preview(self, examples: Sequence[Example]) -> list[RequestPreview]:
        """Return the first requests without running the model; empty if there are none."""
        ...

    def fingerprint(self) -> dict[str, JsonValue]:
        """Return what changes whenever predictions could; part of the cache key."""
        ...


class PredictorTeacher:
    """A predictor without filters."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.is_concurrent = predictors.is_concurrent(predictor)

    def prepare(self, examples: Sequence[Example]) -> Continuation:
        """Prepare posts if the predictor can (`Prefetchable`)."""
        return predictors.prepare(self._predictor, [e.post for e in examples])

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return the predictions of the predictor."""
        return self.prepare(examples)()

    def preview(self, examples: Sequence[Example]) -> list[RequestPreview]:
        """Return the requests of the predictor."""
        return self._predictor.preview([e.post for e in examples])

    def fingerprint(self) -> dict[str, JsonValue]:
        """Return the fingerprint of the predictor."""
        return self._predictor.fingerprint()


def make_teacher(settings: JobSettings, media_root: Path) -> Teacher:
    """Build the predictor of a job, with filters if the settings have any, and load its model.

    Args:
        settings: `AnnotateSettings` give a `FilteredTeacher`.
        media_root: Folder that image paths are relative to.

    Returns:
        The teacher with its model.
    """
    # Two chunks in progress and two being prepared, with one image per post.
    media.resize_cache(4 * settings.chunk, settings.image)
    if isinstance(settings, AnnotateSettings):
        return FilteredTeacher(settings, media_root)
    return PredictorTeacher(predictors.make(settings.predictor_settings(), media_root))


def visible_to_teacher(settings: JobSettings, example: Example) -> Example:
    """Return the post of an example, with gold opinions only if they may guide the teacher.

    Args:
        settings: The job.
        example: A row of the source.
    """
    sees_gold = isinstance(settings, AnnotateSettings) and settings.reveals_label
    return Example(post=example.post, opinions=example.opinions_by("gold") if sees_gold else ())


FULL_SOURCE = Shard()


def pending_chunks(
    source: ExampleSource,
    settings: JobSettings,
    fingerprint: str,
    cache: AnswerCache | None,
    shard: Shard = FULL_SOURCE,
) -> Iterator[tuple[PendingChunk, list[Example]]]:
    """Yield each chunk of a shard with the examples that still need an answer.

    Args:
        source: All posts.
        settings: Chunk size, limit and image limits.
        fingerprint: Hash of the fingerprint of the teacher.
        cache: Cached answers, or None. Without a cache the keys are empty, except for `engine=ray`,
            whose workers compare them.
        shard: Which chunks to yield.
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
    """Return the cache key of an example: post, bytes of its media, and fingerprint.

    Args:
        fingerprint: Hash of the fingerprint of the teacher.
        visible: The example as the teacher sees it.
        root: Folder that image paths are relative to.
        settings: For the image limits.
    """
    post = visible.post.model_copy(
        update={"media": tuple(media.relative_to_root(m, root) for m in visible.post.media)}
    )
    media_digests: list[JsonValue] = [media.digest(m, root, settings.image) for m in post.media]
    parts: dict[str, JsonValue] = {"predictor": fingerprint, "post": post.model_dump_json()}
    if visible.opinions:
        parts["gold"] = [o.model_dump_json() for o in visible.opinions]
    return hash_key({**parts, "media": media_digests})


CONCURRENT_CHUNKS = 2
"""Chunks that are sent to a server at once."""

W = TypeVar("W")
Work = tuple[W, Sequence[Example]]
OnAnswer = Callable[[W, list[Prediction]], None]


def _no_cache(item: object, predictions: list[Prediction]) -> None:
    """Discard a result that is not cached."""


_teacher: Teacher | None = None
"""The teacher of this worker process; None in the parent process."""


def predict_in_process(
    teacher: Teacher, work: Iterable[Work[W]], on_answer: OnAnswer[W] = _no_cache
) -> Iterator[tuple[W, list[Prediction]]]:
    """Predict all work in this process; yield results in order.

    While the model works on one chunk, a thread prepares the next two: it decodes images and writes
    prompts, so that a GPU or server does not wait. A server that takes concurrent requests gets two
    chunks at once, so that it stays busy towards the end of each.

    Args:
        teacher: Runs the model.
        work: Items with their examples; the items are passed through.
        on_answer: Called with each result as soon as it is there, in any thread.

    Yields:
        Each item with its predictions.
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
    """Predict all work in `workers` processes; yield results in order.

    Args:
        settings: Each process builds its own teacher from these.
        root: Folder that image paths are relative to.
        workers: Number of processes.
        work: Items with their examples; the items are passed through.
        on_answer: Called with each result as soon as it is there, in any thread.

    Yields:
        Each item with its predictions.

    Raises:
        UserError: A worker process died.
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
                hint="run the same command again: answers are kept; use fewer workers if "
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
    """Exit when the parent dies; otherwise the worker would keep its model and wait forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _predict_in_worker(examples: Sequence[Example]) -> list[Prediction]:
    if _teacher is None:
        raise RuntimeError("worker started without a teacher")
    return _teacher.predict(examples)
