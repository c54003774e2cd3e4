"""Decide which lane may use the model: the shortest one first, and no lane waits for ever.

A lane that works asks at its preemption points; where a shorter lane waits, it pauses there. A lane
that has waited for `max_wait` goes before shorter ones for one piece of work.

    with turns.turn(lane):
        predict()                   # calls turns.give_way(lane) now and then
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

MAX_WAIT = 0.25
"""Seconds after which a lane that waits goes before shorter ones."""


class ModelTurns:
    """The turns of all lanes."""

    def __init__(self, n_parallel: int, max_wait: float = MAX_WAIT) -> None:
        """Prepare the turns.

        Args:
            n_parallel: Lanes that may use the model at once.
            max_wait: Seconds after which a lane that waits goes before shorter ones.
        """
        self._max_wait = max_wait
        self.n_parallel = n_parallel
        """Lanes that may use the model at once."""
        self._condition = threading.Condition()
        self._waiting: dict[int, float] = {}  # since when
        self._running: set[int] = set()

    @contextmanager
    def turn(self, lane: int) -> Iterator[None]:
        """Hold a turn during the context; blocks until there is one."""
        with self._condition:
            self._acquire(lane)
        try:
            yield
        finally:
            with self._condition:
                self._running.discard(lane)
                self._condition.notify_all()

    def give_way(self, lane: int) -> None:
        """Pause a lane that has a turn while a shorter one works or waits, for `max_wait` at most.

        Args:
            lane: The lane, which does not wait while it is the shortest.
        """
        with self._condition:
            if not self._has_shorter(lane):
                return
            self._running.discard(lane)
            self._condition.notify_all()
            self._acquire(lane)

    def _acquire(self, lane: int) -> None:
        self._waiting[lane] = time.monotonic()
        try:
            while not self._may_run(lane):
                self._condition.wait(self._max_wait / 4)
        finally:
            del self._waiting[lane]
        self._running.add(lane)

    def _may_run(self, lane: int) -> bool:
        if len(self._running) >= self.n_parallel:
            return False
        if self.n_parallel > 1:
            # One turn is left to the shortest lane, which then waits for no other.
            if lane == 0:
                return True
            if sum(other > 0 for other in self._running) >= self.n_parallel - 1:
                return False
        overdue = self._overdue()
        return lane == overdue or (overdue is None and not self._has_shorter(lane))

    def _overdue(self) -> int | None:
        """Return the lane that has waited longest, if for too long."""
        limit = time.monotonic() - self._max_wait
        overdue = [(since, lane) for lane, since in self._waiting.items() if since <= limit]
        return min(overdue)[1] if overdue else None

    def _has_shorter(self, lane: int) -> bool:
        return any(other < lane for other in (*self._waiting, *self._running))
