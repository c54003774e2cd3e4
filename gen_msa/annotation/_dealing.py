"""What is dealt to readers on other machines: chunks of posts, turns, and the hands they are in.

Knows neither Ray nor files.

    for worker, turn in deal(todo, workers): ...
    take_back(worker, todo)      # it has died
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gen_msa.predictors import Prediction
from gen_msa.types import Example

HANDS = 2
"""Turns that one reader has at once."""
DEATHS = 3
"""Of readers on the same posts."""


@dataclass(eq=False)
class Chunk:
    """Posts to be read, and the readings that are there."""

    examples: Sequence[Example]
    keys: Sequence[str]
    made: dict[int, Prediction] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        return len(self.made) == len(self.examples)


@dataclass(eq=False)
class Turn:
    """Posts `first` to `last` of a chunk, in one reader's hands or waiting for one."""

    chunk: Chunk
    first: int
    last: int
    deaths: int = 0


@dataclass(eq=False)
class Worker:
    """A reader, wherever it is, and what it was given."""

    desk: Any
    turns: list[Turn] = field(default_factory=list)
    open: bool = False

    def takes(self, turn: Turn) -> bool:
        """Posts that a reader died with go alone, or others would be suspected with them."""
        if not self.open or any(t.deaths for t in self.turns):
            return False
        return len(self.turns) < (1 if turn.deaths else HANDS)


def deal(todo: deque[Turn], workers: Sequence[Worker]) -> Iterator[tuple[Worker, Turn]]:
    """Put turns, first come first served, into hands as long as the next one finds some."""
    while todo:
        free = [w for w in workers if w.takes(todo[0])]
        if not free:
            return
        worker, turn = min(free, key=lambda w: len(w.turns)), todo.popleft()
        worker.turns.append(turn)
        yield worker, turn


def take_back(worker: Worker, todo: deque[Turn]) -> None:
    """What a dead reader had in hand comes first again."""
    left = [turn for held in worker.turns for turn in again(held)]
    todo.extendleft(reversed(left))


def again(turn: Turn) -> list[Turn]:
    """What becomes of posts whose reader died."""
    turn.deaths += 1
    if turn.deaths < DEATHS:
        return [turn]
    if turn.last - turn.first > 1:
        return [Turn(turn.chunk, i, i + 1) for i in range(turn.first, turn.last)]
    turn.chunk.made[turn.first] = Prediction(
        rejection=f"{DEATHS} readers died while they read it",
        hint="see the reader's log; run again to ask only this post",
    )
    return []
