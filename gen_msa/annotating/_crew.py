"""Readers on the machines of a Ray cluster, as one teacher.

The driver deals out chunks of posts, one a reader at a time, and takes the readings back in the
order of the source; ledger and files are its own, so a row is written once whatever dies. A reader
that dies, alone or with its machine, is replaced as soon as Ray has room, and its posts go to
whoever is free: a cluster that shrinks to one reader still ends. Posts on which readers die three
times are asked one by one; the one that kills is set aside.

Ray's plain actors, not Ray Data: that knows neither lines that cannot be read nor their numbers,
and begins again at the first row when its driver dies.

    with Crew(settings, root) as crew: list(read_on_ray(crew, work(...)))
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import JsonValue

from gen_msa.annotating._cluster import deaths, joined
from gen_msa.annotating._desk import Desk, Stop
from gen_msa.annotating._output import Pending
from gen_msa.annotating._settings import JobSettings
from gen_msa.annotating._teaching import Teacher
from gen_msa.annotating._working import key_of
from gen_msa.errors import UserError
from gen_msa.ledger import key
from gen_msa.readers import Finish, Reading, Shown
from gen_msa.types import Example

W = TypeVar("W")
AHEAD = 4
"""Chunks a reader that are dealt out or done before the first of them is written."""
PATIENCE = 600.0
"""Seconds without any reader before the job gives up."""
DEATHS = 3
"""Of readers on the same posts."""
_log = logging.getLogger(__name__)


@dataclass
class _Chunk:
    """Posts to be read, and the readings that are there."""

    examples: Sequence[Example]
    keys: Sequence[str]
    made: dict[int, Reading] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        return len(self.made) == len(self.examples)


@dataclass
class _Turn:
    """Posts `first` to `last` of a chunk, in one reader's hands or waiting for one."""

    chunk: _Chunk
    first: int
    last: int
    deaths: int = 0


class Crew:
    """As many readers as `settings.workers`, each an actor of Ray's. A `Teacher`."""

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
            num_cpus=1, num_gpus=settings.gpus, max_restarts=0, scheduling_strategy="SPREAD"
        )
        self._facts: dict[str, JsonValue] | None = None
        self._todo: deque[_Turn] = deque()
        self._busy: dict[Any, tuple[Any, _Turn | None]] = {}
        self._idle: deque[Any] = deque()
        self._stillborn = 0
        for _ in range(settings.workers):
            self._hire()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let all readers go; a cluster of our own ends."""
        for desk in (*self._idle, *(desk for desk, _ in self._busy.values())):
            self._ray.kill(desk)
        if self._own:
            self._ray.shutdown()

    def fingerprint(self) -> dict[str, JsonValue]:
        """The readers', who must all be alike."""
        while self._facts is None:
            self._wait()
        return self._facts

    def preview(self, examples: Sequence[Example]) -> list[Shown]:
        """One reader's questions."""
        while not self._idle:
            self._wait()
        shown: list[Shown] = _said(self._ray.get(self._idle[0].preview.remote(examples)))
        return shown

    def prepare(self, examples: Sequence[Example]) -> Finish:
        """Nothing: each reader prepares where it works."""
        return lambda: self.read(examples)

    def read(self, examples: Sequence[Example]) -> list[Reading]:
        """One reading an example, in order."""
        reader = key(self.fingerprint())
        keys = [key_of(reader, e, self._root, self._settings) for e in examples]
        ((_, readings),) = self.read_all([(None, examples, keys)])
        return readings

    def read_all(
        self, work: Iterable[tuple[W, Sequence[Example], Sequence[str]]]
    ) -> Iterator[tuple[W, list[Reading]]]:
        """Read every piece of work, whoever dies; results come in the order of the work."""
        waiting: deque[tuple[W, _Chunk]] = deque()
        for carried, examples, keys in work:
            chunk = _Chunk(examples, keys)
            waiting.append((carried, chunk))
            if examples:
                self._todo.append(_Turn(chunk, 0, len(examples)))
            self._deal()
            while len(waiting) > AHEAD * self._settings.workers:
                yield self._next(waiting)
        while waiting:
            yield self._next(waiting)

    def _next(self, waiting: deque[tuple[W, _Chunk]]) -> tuple[W, list[Reading]]:
        carried, chunk = waiting.popleft()
        while not chunk.whole:
            self._deal()
            self._wait()
        return carried, [chunk.made[i] for i in range(len(chunk.examples))]

    def _hire(self) -> None:
        desk = self._desk.remote(self._settings, self._root, Path.cwd())
        self._busy[desk.open.remote()] = (desk, None)

    def _deal(self) -> None:
        while self._todo and self._idle:
            desk, turn = self._idle.popleft(), self._todo.popleft()
            part = slice(turn.first, turn.last)
            ref = desk.read.remote(turn.chunk.examples[part], turn.chunk.keys[part])
            self._busy[ref] = (desk, turn)

    def _wait(self) -> None:
        """Until somebody has something to say."""
        ready, _ = self._ray.wait(list(self._busy), num_returns=1, timeout=PATIENCE)
        if not ready and not self._idle and all(turn is None for _, turn in self._busy.values()):
            raise UserError(
                f"no reader could start within {PATIENCE:.0f} s",
                mend="Ray has no room for one: see `ray status`, or ask for fewer workers or gpus",
            )
        for ref in ready:
            desk, turn = self._busy.pop(ref)
            try:
                said = _said(self._ray.get(ref))
            except deaths(self._ray) as e:
                self._lost(desk, turn, e)
                continue
            self._idle.append(desk)
            if turn is None:
                self._opened(said)
            else:
                turn.chunk.made |= dict(zip(range(turn.first, turn.last), said, strict=True))

    def _opened(self, facts: dict[str, JsonValue]) -> None:
        self._stillborn = 0
        if self._facts not in (None, facts):
            raise UserError(
                "two machines have different readers: model, prompt or version is another",
                mend="install the same gen-msa and put models and prompts on shared paths",
            )
        self._facts = facts

    def _lost(self, desk: Any, turn: _Turn | None, why: Exception) -> None:
        """A reader is gone: hire another, and have its posts read by somebody."""
        self._ray.kill(desk)
        self.lost += 1
        told = "its posts are asked again" if turn else "it had not begun"
        _log.warning("a reader was lost (%s): %s", type(why).__name__, told)
        self._stillborn += turn is None
        if self._stillborn > DEATHS * self._settings.workers:
            raise UserError(
                f"readers die while they load: {why}",
                mend="give each more memory, or ask for fewer workers a machine",
            )
        self._hire()
        if turn is not None:
            self._todo.extendleft(reversed(_again(turn)))


def _again(turn: _Turn) -> list[_Turn]:
    """What becomes of posts whose reader died."""
    turn.deaths += 1
    if turn.deaths < DEATHS:
        return [turn]
    if turn.last - turn.first > 1:
        return [_Turn(turn.chunk, i, i + 1) for i in range(turn.first, turn.last)]
    turn.chunk.made[turn.first] = Reading(
        refused=f"{DEATHS} readers died while they read it",
        mend="see the reader's log; run again to ask only this post",
    )
    return []


def read_on_ray(
    crew: Teacher, work: Iterable[tuple[Pending, Sequence[Example]]]
) -> Iterator[tuple[Pending, list[Reading]]]:
    """Every chunk with the readings of its unread posts, in order."""
    if not isinstance(crew, Crew):
        raise TypeError("engine: ray needs the teacher that `prepared` makes")
    return crew.read_all((p, unread, [k for k in p.keys if k not in p.known]) for p, unread in work)


def _said(answer: Any) -> Any:
    if isinstance(answer, Stop):
        raise answer.error()
    return answer
