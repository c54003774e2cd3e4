"""The state of a job on a Ray cluster: its answer cache, worker deaths and first error.

One actor on the driver's machine holds it. Every answer is in the answer cache before Ray Data has
written it anywhere, so that neither a killed driver nor a lost worker has a question asked twice;
and the posts that were being read when a worker died are counted. Imports no Ray.

    state = ray.remote(JobState).remote(chunk=64)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from gen_msa.annotation.job import stop_if_unavailable
from gen_msa.annotation.output import JobCounts, has_error, put_answers
from gen_msa.answer_cache import AnswerCache
from gen_msa.errors import UserError
from gen_msa.predictors import Prediction

MAX_DEATHS = 3
"""Worker deaths after which a batch is read post by post, and a post that is alone set aside."""


@dataclass
class RayJobStatus:
    """Where a job stands."""

    counts: JobCounts = field(default_factory=JobCounts)
    """Of this run's posts, in the order in which they are answered."""
    lost: int = 0
    """Workers that died and were started again."""
    fingerprint: dict[str, JsonValue] | None = None
    """The model's, once a worker has loaded it."""
    error: UserError | None = None


class JobState:
    """Answer cache, deaths and first error of a job. Runs as one Ray actor, a call at a time."""

    def __init__(self, chunk: int) -> None:
        """`chunk` is the number of posts in a batch."""
        self._status = RayJobStatus()
        self._chunk = chunk
        self._cache: AnswerCache | None = None
        self._deaths: Counter[str] = Counter()
        """Batch, or key of a post -> workers that died while they read it."""
        self._reading: dict[str, set[str]] = {}
        """Worker -> what it reads now."""
        self._loading: Counter[str] = Counter()
        """Worker -> times it began to load its model since it last succeeded."""
        self._n_new: Counter[str] = Counter()
        """Batch -> posts asked about in this run."""
        self._failed_in_a_row = 0

    def open_cache(self, path: Path, reuse_cache: Sequence[Path]) -> None:
        """Open the answer cache; `reuse_cache` are those of other runs.

        Args:
            path: The answer cache of this job; created if it is missing.
            reuse_cache: Answer caches of other runs, which are only read. May be empty.
        """
        self._cache = AnswerCache(path, reuse_cache)

    def close(self) -> None:
        """Close the answer cache, so that its file is complete without what lies beside it."""
        if self._cache is not None:
            self._cache.close()

    def current(self) -> RayJobStatus:
        """Return where the job stands."""
        return self._status

    def fail(self, error: UserError) -> None:
        """Stop the job; the first error counts."""
        self._status.error = self._status.error or error

    def started(self, worker: str) -> None:
        """Note that a worker's process begins; of one that is known, that the last one died."""
        if worker in self._loading:
            self._status.lost += 1
            self._deaths.update(self._reading.pop(worker, ()))
        self._loading[worker] += 1
        if self._loading[worker] > MAX_DEATHS:
            hint = "give each more memory, or ask for fewer workers a machine"
            self.fail(UserError("workers die while they load the model", hint=hint))
            raise RuntimeError("the job is stopped")

    def loaded(self, worker: str, fingerprint: dict[str, JsonValue]) -> None:
        """Note that a worker has its model; posts' keys tell whether it is the first one's.

        Args:
            worker: The worker's actor id.
            fingerprint: What its answers depend on; the first worker's is kept.
        """
        self._loading[worker] = 0
        self._status.fingerprint = self._status.fingerprint or fingerprint

    def lookup(self, batch: str, keys: Sequence[str]) -> tuple[int, int, dict[str, JsonValue]]:
        """Return workers that died of `batch`, its posts asked about, and the known answers.

        Args:
            batch: The batch's id.
            keys: Cache keys of its posts.
        """
        if self._status.error:
            raise RuntimeError("the job is stopped")
        cached = self._opened().get(keys)
        self._status.counts.written += len(cached)
        return self._deaths[batch], self._n_new[batch], cached

    def begin(self, worker: str, unit: str) -> int:
        """Note that `worker` reads a batch or one post; return how many died of it.

        Args:
            worker: The worker's actor id.
            unit: The id of a batch, or the key of a post that is read alone.

        Returns:
            The number of workers that died while they read the unit, at least 0.
        """
        self._reading.setdefault(worker, set()).add(unit)
        return self._deaths[unit]

    def keep(self, worker: str, unit: str, batch: str, answers: Mapping[str, Prediction]) -> int:
        """Keep the answers of a unit by key; return its batch's posts asked about in this run.

        Args:
            worker: The worker's actor id.
            unit: The id of a batch, or the key of a post that was read alone.
            batch: The id of the batch that the unit belongs to.
            answers: Prediction by cache key.

        Returns:
            The number of the batch's posts that were asked about in this run.

        Raises:
            UserError: Too many posts in a row got no answer; the job stops.
        """
        put_answers(self._opened(), answers)
        self._reading[worker].discard(unit)
        self._n_new[batch] += len(answers)
        counts = self._status.counts
        accepted = [r.opinions for r in answers.values() if not r.rejection]
        for opinions in accepted:
            counts.add(opinions, opinions)
        counts.written += len(accepted)
        counts.rejected += len(answers) - len(accepted)
        counts.rows = counts.written + counts.rejected
        all_failed = all(map(has_error, accepted))
        self._failed_in_a_row = self._failed_in_a_row + len(accepted) if all_failed else 0
        try:
            stop_if_unavailable(counts, self._chunk, self._failed_in_a_row)
        except UserError as e:
            self.fail(e)
            raise
        return self._n_new[batch]

    def _opened(self) -> AnswerCache:
        if self._cache is None:
            raise RuntimeError("the answer cache is opened before posts are read")
        return self._cache
