"""Readers on the machines of a Ray cluster, as one teacher.

The driver deals out chunks of posts, two a reader: one that its model is asked about, one that it
makes ready. Readings come back in the order of the source; ledger and files are the driver's own,
so a row is written once whatever dies. A reader that dies, alone or with its machine, is replaced
as soon as Ray has room, and its posts go to whoever is free: a cluster that shrinks to one reader
still ends. What a dead reader had in hand is read by one that has nothing else; posts on which
readers die three times are asked one by one, and the one that kills is set aside.

Ray's plain actors, not Ray Data: that knows neither lines that cannot be read nor their numbers,
and begins again at the first row when its driver dies.

    with Crew(settings, root) as crew: list(read_on_ray(crew, work(...)))
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import JsonValue

from gen_msa.annotation._cluster import deaths, joined
from gen_msa.annotation._dealing import DEATHS, HANDS, Chunk, Turn, Worker, deal, take_back
from gen_msa.annotation._desk import Desk, Stop
from gen_msa.annotation.output import PendingChunk
from gen_msa.annotation.settings import JobSettings
from gen_msa.annotation.workers import Teacher, cache_key
from gen_msa.answer_cache import hash_key
from gen_msa.errors import UserError
from gen_msa.predictors import Continuation, Prediction, RequestPreview
from gen_msa.types import Example

W = TypeVar("W")
AHEAD = 4
"""Chunks a reader that are dealt out or done before the first of them is written."""
PATIENCE = 1800.0
"""Seconds without any reader before the job gives up; a large model takes long to load."""
_log = logging.getLogger(__name__)


class Crew:
    """As many readers as `settings.workers`, each an actor of Ray's. A `Teacher`."""

    is_concurrent = False
    """Each reader asks as it can, where it works."""

    def __init__(self, settings: JobSettings, root: Path, desk: type[Desk] = Desk) -> None:
        """Join or start a cluster and hire. Raises `UserError` when there is no way to it."""
        self.lost = 0
        """Readers that died."""
        self._settings = settings
        self._root = root.absolute()
        self._ray, self._own = joined(settings)
        # Replaced here and not restarted by Ray: a restart waits for its own machine's room, and
        # the posts in its hands would wait with it.
        self._desk = self._ray.remote(desk).options(
            num_cpus=1,
            num_gpus=settings.gpus,
            max_restarts=0,
            max_concurrency=HANDS,
            scheduling_strategy="SPREAD",
        )
        self._facts: dict[str, JsonValue] | None = None
        self._todo: deque[Turn] = deque()
        self._workers: list[Worker] = []
        self._busy: dict[Any, tuple[Worker, Turn | None]] = {}
        self._stillborn = 0
        for _ in range(settings.workers):
            self._hire()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let all readers go; a cluster of our own ends."""
        for worker in self._workers:
            self._ray.kill(worker.desk)
        if self._own:
            self._ray.shutdown()

    def fingerprint(self) -> dict[str, JsonValue]:
        """The readers', who must all be alike."""
        while self._facts is None:
            self._wait()
        return self._facts

    def preview(self, examples: Sequence[Example]) -> list[RequestPreview]:
        """One reader's questions."""
        self.fingerprint()  # so that there is one
        first = next(w for w in self._workers if w.open)
        shown: list[RequestPreview] = _said(self._ray.get(first.desk.preview.remote(examples)))
        return shown

    def prepare(self, examples: Sequence[Example]) -> Continuation:
        """Nothing: each reader prepares where it works."""
        return lambda: self.predict(examples)

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """One reading an example, in order."""
        reader = hash_key(self.fingerprint())
        keys = [cache_key(reader, e, self._root, self._settings) for e in examples]
        ((_, readings),) = self.read_all([(None, examples, keys)])
        return readings

    def read_all(
        self, work: Iterable[tuple[W, Sequence[Example], Sequence[str]]]
    ) -> Iterator[tuple[W, list[Prediction]]]:
        """Read every piece of work, whoever dies; results come in the order of the work."""
        waiting: deque[tuple[W, Chunk]] = deque()
        for carried, examples, keys in work:
            chunk = Chunk(examples, keys)
            waiting.append((carried, chunk))
            if examples:
                self._todo.append(Turn(chunk, 0, len(examples)))
            self._deal()
            while len(waiting) > AHEAD * self._settings.workers:
                yield self._next(waiting)
        while waiting:
            yield self._next(waiting)

    def _next(self, waiting: deque[tuple[W, Chunk]]) -> tuple[W, list[Prediction]]:
        carried, chunk = waiting.popleft()
        while not chunk.whole:
            self._deal()
            self._wait()
        return carried, [chunk.made[i] for i in range(len(chunk.examples))]

    def _hire(self) -> None:
        worker = Worker(self._desk.remote(self._settings, self._root, Path.cwd()))
        self._workers.append(worker)
        self._busy[worker.desk.open.remote()] = (worker, None)

    def _deal(self) -> None:
        for worker, turn in deal(self._todo, self._workers):
            part = slice(turn.first, turn.last)
            ref = worker.desk.read.remote(turn.chunk.examples[part], turn.chunk.keys[part])
            self._busy[ref] = (worker, turn)

    def _wait(self) -> None:
        """Until somebody has something to say."""
        ready, _ = self._ray.wait(list(self._busy), num_returns=1, timeout=PATIENCE)
        if not ready and not any(worker.open for worker in self._workers):
            raise UserError(
                f"no reader could start within {PATIENCE:.0f} s",
                hint="either Ray has no room for one (see `ray status`; ask for fewer workers or "
                "gpus), or the model still loads: put it on a faster disk",
            )
        for ref in ready:
            worker, turn = self._busy.pop(ref)
            try:
                said = _said(self._ray.get(ref))
            except deaths(self._ray) as e:
                self._lost(worker, e)
                continue
            if turn is None:
                self._opened(said)
                worker.open = True
            else:
                worker.turns.remove(turn)
                turn.chunk.made |= dict(zip(range(turn.first, turn.last), said, strict=True))

    def _opened(self, facts: dict[str, JsonValue]) -> None:
        self._stillborn = 0
        if self._facts not in (None, facts):
            raise UserError(
                "two machines have different readers: model, prompt or version is another",
                hint="install the same gen-msa and put models and prompts on shared paths",
            )
        self._facts = facts

    def _lost(self, worker: Worker, why: Exception) -> None:
        """A reader is gone: hire another, and have its posts read by somebody."""
        self._ray.kill(worker.desk)
        self._workers.remove(worker)
        self._busy = {ref: held for ref, held in self._busy.items() if held[0] is not worker}
        self.lost += 1
        told = "its posts are asked again" if worker.turns else "it had not begun"
        _log.warning("a reader was lost (%s): %s", type(why).__name__, told)
        self._stillborn += not worker.open
        if self._stillborn > DEATHS * self._settings.workers:
            raise UserError(
                f"readers die while they load: {why}",
                hint="give each more memory, or ask for fewer workers a machine",
            )
        self._hire()
        take_back(worker, self._todo)


def read_on_ray(
    crew: Teacher, work: Iterable[tuple[PendingChunk, Sequence[Example]]]
) -> Iterator[tuple[PendingChunk, list[Prediction]]]:
    """Every chunk with the readings of its unread posts, in order."""
    if not isinstance(crew, Crew):
        raise TypeError("engine: ray needs the teacher that `prepared` makes")
    return crew.read_all((p, unread, p.new_keys) for p, unread in work)


def _said(answer: Any) -> Any:
    if isinstance(answer, Stop):
        raise answer.error()
    return answer
