"""A worker of a job on a Ray cluster: one model, in an actor of Ray Data's pool.

ds.map_batches(RayWorker, fn_constructor_args=(settings, root, Path.cwd(), state), ...)
"""

import os
import platform
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from gen_msa.annotation.output import Chunk, PendingChunk, has_error, merge_cached
from gen_msa.annotation.ray_state import MAX_DEATHS
from gen_msa.annotation.settings import JobSettings
from gen_msa.annotation.workers import Teacher, cache_key, make_teacher
from gen_msa.answer_cache import fingerprint_key
from gen_msa.errors import BackendUnavailable, UserError
from gen_msa.predictors import Prediction
from gen_msa.types import Example

THREADS = 2
"""Batches that a worker has at once: the model is asked about one, the other is made ready."""
PREDICTIONS: TypeAdapter[list[Prediction]] = TypeAdapter(list[Prediction])
"""Of a batch, as JSON in a column."""


class RayWorker:
    """A model, called by Ray Data in `THREADS` threads."""

    def __init__(self, settings: JobSettings, root: Path, folder: Path, state: Any) -> None:
        """Load the model.

        Args:
            settings: Of the job.
            root: The folder of images.
            folder: The driver's; relative paths of the settings begin there.
            state: Handle of the actor that is the job's `JobState`.
        """
        import ray

        self._get, self._state, self._settings, self._root = ray.get, state, settings, root
        self._id = ray.get_runtime_context().get_actor_id()
        self._model_lock, self._entry = threading.Lock(), threading.Lock()
        self._turns = threading.Semaphore(THREADS)
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        self._get(state.started.remote(self._id))
        with self._reported():
            if folder.is_dir():
                os.chdir(folder)
            self._teacher: Teacher = make_teacher(settings, root)
            fingerprint = self._teacher.fingerprint()
        self._key = fingerprint_key(fingerprint)
        self._get(state.loaded.remote(self._id, fingerprint))

    def call(self, method: str, *args: object) -> Any:
        """Return what a method of the model's `Teacher` returns, outside a pipeline.

        Args:
            method: Name of a method of `Teacher`.
            *args: Its positional arguments.
        """
        with self._reported():
            return getattr(self._teacher, method)(*args)

    def __call__(self, table: Any) -> Any:
        """Read the batch that is the one row of a `pyarrow.Table`; return the row to write.

        A batch with an answer that the next run must ask for again is written under another id, so
        that no checkpoint has it.
        """
        import pyarrow as pa

        (row,) = table.to_pylist()
        examples = [Example.model_validate_json(post) for post in row["posts"]]
        posts = dict(zip(row["keys"], examples, strict=True))
        with self._reported():
            n_new, predictions = self._predict(row["batch"], posts)
        complete = not any(r.rejection or has_error(r.opinions) for r in predictions)
        row["id"] = row["batch"] if complete else f"{row['batch']} {row['run']}"
        out = {name: [row[name]] for name in ("id", "batch", "run")}
        return pa.table(
            {
                **out,
                "n_new": [n_new],
                "predictions": [PREDICTIONS.dump_json(predictions).decode()],
            }
        )

    def _predict(self, batch: str, posts: Mapping[str, Example]) -> tuple[int, list[Prediction]]:
        """Return how many posts of a batch were asked about in this run, and all predictions.

        Where workers died of a batch, nothing is read beside it; at last each post is alone.
        """
        deaths, n_new, cached = self._get(self._state.lookup.remote(batch, [*posts]))
        pending = PendingChunk(Chunk(), [*posts], cached, is_cached=True)
        unread = {k: posts[k] for k in pending.new_keys}
        self._check(unread)
        units = {batch: unread} if deaths < MAX_DEATHS else {k: {k: e} for k, e in unread.items()}
        new_predictions: list[Prediction] = []
        for unit, examples in units.items() if unread else ():
            with self._turn(alone=deaths > 0):
                if self._get(self._state.begin.remote(self._id, unit)) < MAX_DEATHS:
                    answers = self._ask([*examples.values()])
                else:
                    rejection = f"{MAX_DEATHS} workers died while they read it"
                    hint = "see Ray's log of the worker"
                    answers = [Prediction(rejection=rejection, hint=hint)]
                predictions_by_key = dict(zip(examples, answers, strict=True))
                n_new = self._get(
                    self._state.keep.remote(self._id, unit, batch, predictions_by_key)
                )
            new_predictions += answers
        return n_new, merge_cached(pending, new_predictions, None, self._settings.model)[0]

    def _ask(self, examples: Sequence[Example]) -> list[Prediction]:
        """Prepare beside the other thread; ask when the model is free."""
        continuation = self._teacher.prepare(examples)
        with nullcontext() if self._teacher.is_concurrent else self._model_lock:
            return continuation()

    @contextmanager
    def _turn(self, *, alone: bool) -> Iterator[None]:
        """Run beside the other thread, or alone: only this batch is then suspected of a death."""
        permits = THREADS if alone else 1
        with self._entry:
            for _ in range(permits):
                self._turns.acquire()
        try:
            yield
        finally:
            self._turns.release(permits)

    def _check(self, posts: Mapping[str, Example]) -> None:
        """Raise `UserError` unless model and posts are here what they are for the driver."""
        for expected, example in posts.items():
            if cache_key(self._key, example, self._root, self._settings) != expected:
                raise UserError(
                    f"post {example.post.id!r} is not here what it is on the driver's machine: its "
                    "images are others or missing, or the model, prompt or version is another",
                    hint="put images (--media-root), models and prompts on paths that all machines "
                    "share, and install the same gen-msa",
                )

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Report an error that a user can do something about; Ray's traceback is for others."""
        try:
            yield
        except UserError as e:
            kind = BackendUnavailable if isinstance(e, BackendUnavailable) else UserError
            error = kind(f"on {platform.node()}: {e.problem}", hint=e.hint)
            self._get(self._state.fail.remote(error))
            raise
