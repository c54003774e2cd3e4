"""A job on a Ray cluster, as a Ray Data pipeline that goes on where it was killed.

    read (batches of posts) -> checkpoint filter -> map_batches(RayWorker) -> write (Parquet)

A row of the pipeline is a batch: the posts that a model is asked about at once, as one local
process would ask. Its id is a digest of the posts, their images' bytes and the model's fingerprint,
so a checkpoint holds for whatever has not changed. Ray Data restarts workers, streams, and skips
batches that were written before; `JobState` has the answers that were not yet. Reading and writing
run on the driver's machine, so that only models, prompts and images must be on shared paths. When
all batches are written, the driver goes through the source once more, in its order.

    with RayPredictor(settings, root) as model: [*predict_all(model, source, shard, cache, print)]
"""

import logging
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from pydantic import JsonValue
from ray.data import ActorPoolStrategy, DataContext, Datasource, ReadTask
from ray.data.block import BlockMetadata
from ray.data.checkpoint import CheckpointConfig, IdColumnCheckpointManager

from gen_msa.annotation.output import JobCounts, PendingChunk
from gen_msa.annotation.ray_cluster import RayPredictor
from gen_msa.annotation.ray_state import RayJobStatus
from gen_msa.annotation.ray_worker import PREDICTIONS, THREADS
from gen_msa.annotation.settings import JobSettings, Shard
from gen_msa.annotation.workers import Teacher, pending_chunks
from gen_msa.answer_cache import AnswerCache, fingerprint_key, hash_key
from gen_msa.data import ExampleSource
from gen_msa.errors import UserError
from gen_msa.predictors import Prediction

FILE_ROWS = 8
"""Batches in a file of answers."""
LOAD_SECONDS = 1800.0
"""Without any model loaded, after which a job gives up; a large model takes long."""
POLL_SECONDS = 0.5
_PENDING = ".pending.parquet"
_log = logging.getLogger(__name__)


def predict_all(
    model: Teacher,
    source: ExampleSource,
    shard: Shard,
    cache: AnswerCache | None,
    on_progress: Callable[[JobCounts], None],
) -> Iterator[tuple[PendingChunk, list[Prediction]]]:
    """Run the pipeline, then give every chunk of `shard` with its predictions, in order.

    Args:
        model: The models on the cluster, a `RayPredictor`.
        source: The posts; read here and in a process of Ray's on this machine.
        shard: Which chunks of the source.
        cache: The answer cache; beside it Ray keeps what it needs to go on. None: nothing is kept.
        on_progress: Called with the posts done so far while the pipeline runs.

    Returns:
        The chunks of the shard, each with one prediction per post; none for a chunk without posts.

    Raises:
        UserError: What a user can do something about, wherever on the cluster it happened.
    """
    if not isinstance(model, RayPredictor):
        raise TypeError("engine: ray needs what `make_job_teacher` makes")
    cache_path = Path(tempfile.mkdtemp(prefix="gen-msa-")) / "job" if cache is None else cache.path
    folder, run = cache_path.with_suffix(".ray").absolute(), uuid.uuid4().hex
    folder.mkdir(parents=True, exist_ok=True)
    model.work_folder = folder if cache is not None else folder.parent
    model.release_probe()
    if model.owned:  # its plans and tracebacks are not for the terminal; errors are raised here
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    reuse_cache = [path.absolute() for path in cache.reuse_cache] if cache is not None else []
    ray.get(model.state.open_cache.remote(cache_path.absolute(), reuse_cache))
    posts = _BatchDatasource(model.settings, source, shard, model.state, run)
    _run(model, partial(_pipeline, model, posts, folder), on_progress)
    return _in_order(model, source, shard, folder / "answers", run)


def _run(
    model: RayPredictor, pipeline: Callable[[], None], on_progress: Callable[[JobCounts], None]
) -> None:
    """Run the pipeline in a thread, because it returns at its end; report progress meanwhile."""
    lost, thread = 0, ThreadPoolExecutor(1)
    try:
        job = thread.submit(pipeline)
        while not wait([job], POLL_SECONDS).done:
            status = model.status()
            on_progress(status.counts)
            if status.lost > lost:
                _log.warning("%d workers were lost; their posts are read again", status.lost - lost)
                lost = status.lost
        model.run(job.result)
    finally:  # an interrupted driver does not wait: without the job's state its workers end
        thread.shutdown(wait=False)


def _pipeline(model: RayPredictor, posts: "_BatchDatasource", folder: Path) -> None:
    """Read, predict and write every batch that no earlier run has written."""
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # a block, and so a task, for each row
    context.checkpoint_config = CheckpointConfig(
        id_column="id",
        checkpoint_path=str(folder / "checkpoint"),
        checkpoint_manager_cls=_DriversCheckpoint,
        delete_checkpoint_on_success=False,  # the output is not whole yet
    )
    settings, workers = model.settings, model.settings.workers
    with DataContext.current(context):
        pool = ActorPoolStrategy(
            size=workers,
            max_concurrent_calls_per_actor=THREADS,
            max_tasks_in_flight_per_actor=THREADS,
            enable_true_multi_threading=True,
        )
        batches = ray.data.read_datasource(posts, override_num_blocks=1, **model.node)
        predictions = batches.map_batches(
            model.worker,
            fn_constructor_args=(settings, model.root, Path.cwd(), model.state),
            batch_size=None,
            batch_format="pyarrow",
            compute=pool,
            num_cpus=1,
            num_gpus=settings.gpus,
        )
        predictions.write_parquet(
            str(folder / "answers"),
            min_rows_per_file=FILE_ROWS,
            concurrency=1,
            ray_remote_args=model.node,
        )


class _BatchDatasource(Datasource):  # type: ignore[misc]
    """The posts in batches, a row each.

    One task reads them all, in a process of Ray's on the driver's machine: line numbers and
    repeated ids need every row before. Ids need the fingerprint, and so a model that is loaded.
    """

    def __init__(
        self, settings: JobSettings, source: ExampleSource, shard: Shard, state: Any, run: str
    ) -> None:
        super().__init__()
        self._settings, self._source, self._shard = settings, source, shard
        self._state, self._run, self._folder = state, run, Path.cwd()

    def estimate_inmemory_data_size(self) -> int | None:
        """Return None: unknown."""
        return None

    def get_read_tasks(self, *_: object, **__: object) -> list[ReadTask]:
        """Return the one task, whatever parallelism is wanted."""
        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(self._batches, unknown)]

    def _batches(self) -> Iterator[pa.Table]:
        try:
            fingerprint = fingerprint_key(self._fingerprint())
            os.chdir(self._folder)
            todo = pending_chunks(self._source, self._settings, fingerprint, None, self._shard)
            for pending, examples in todo:
                if examples:
                    batch = _id_of(pending.keys)
                    row = {"id": batch, "batch": batch, "run": self._run, "keys": pending.keys}
                    row["posts"] = [e.model_dump_json() for e in examples]
                    yield pa.table({name: [value] for name, value in row.items()})
        except UserError as e:
            ray.get(self._state.fail.remote(UserError(e.problem, hint=e.hint)))
            raise

    def _fingerprint(self) -> dict[str, JsonValue]:
        """Wait for the first model."""
        until = time.monotonic() + LOAD_SECONDS
        while time.monotonic() < until:
            status: RayJobStatus = ray.get(self._state.current.remote())
            if status.error:
                raise status.error
            if status.fingerprint:
                return status.fingerprint
            time.sleep(POLL_SECONDS / 5)
        raise UserError(
            f"no worker could start within {LOAD_SECONDS:.0f} s",
            hint="either Ray has no room for one (see `ray status`; a job takes a CPU for each "
            "worker and one more, and `gpus`), or the model still loads: use a faster disk",
        )


class _DriversCheckpoint(IdColumnCheckpointManager):  # type: ignore[misc]
    """Loads a checkpoint in the driver: Ray's own would need it on a path all machines share."""

    def load_checkpoint(
        self, data_file_dir: str | None = None, data_file_filesystem: object = None
    ) -> tuple[Any, int]:
        """Remove what was written and not committed; return a reference to the ids, and bytes."""
        folder = Path(self.checkpoint_path_unwrapped)
        for pending in folder.glob(f"*{_PENDING}"):
            written = f"{pending.name.removesuffix(_PENDING)}*"
            for file in (*Path(data_file_dir or "").glob(written), pending):
                file.unlink()
        files = sorted(folder.glob("*.parquet"))
        ids = sorted(i for f in files for i in pq.read_table(f)["id"].to_pylist())
        return (ray.put(np.array(ids, dtype=object)), 200 * len(ids)) if ids else (None, 0)


def _in_order(
    model: RayPredictor, source: ExampleSource, shard: Shard, answers: Path, run: str
) -> Iterator[tuple[PendingChunk, list[Prediction]]]:
    """Go through the source again, and give each chunk with what was written of it."""
    positions: dict[str, tuple[Path, int]] = {}
    for file in sorted(answers.glob("*.parquet")):
        for row, written in enumerate(pq.read_table(file, columns=["batch", "run"]).to_pylist()):
            if written["batch"] not in positions or written["run"] == run:
                positions[written["batch"]] = file, row
    rows = lru_cache(maxsize=4 * FILE_ROWS)(lambda file: pq.read_table(file).to_pylist())
    fingerprint = fingerprint_key(model.fingerprint())
    for pending, examples in pending_chunks(source, model.settings, fingerprint, None, shard):
        if not examples:
            yield replace(pending, is_cached=True), []
            continue
        position = positions.get(_id_of(pending.keys))
        if position is None:
            raise UserError(
                f"the posts of {source.name} were changed while they were read",
                hint="run the same command again: what was answered is kept",
            )
        row = rows(position[0])[position[1]]
        n_new = row["n_new"] if row["run"] == run else 0
        predictions = PREDICTIONS.validate_json(row["predictions"])
        yield (
            replace(pending, is_cached=True, n_cached_on_ray=len(predictions) - n_new),
            predictions,
        )


def _id_of(keys: Sequence[str]) -> str:
    """Return the id of a batch of posts."""
    return hash_key({"batch": [*keys]})
