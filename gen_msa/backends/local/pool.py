"""Rows being answered: greedy, token by token; rows that end make room for new ones.

A row first takes its slot's forced tokens, then its own until it ends or its budget is spent.
Where the past is plain, rows of the next batch join while others are still going on, so that the
batch stays full. Knows tokens only.

    pool = Pool(engine)
    pool.admit(engine.start([row.ids]), [row])
    finished = pool.step()
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from gen_msa.backends.local.engine import Engine
from gen_msa.backends.local.past import State, merge, select
from gen_msa.backends.local.plan import Row
from gen_msa.backends.local.quoting import Quoter


@dataclass
class Answer:
    """What the model added to a row: the slot's forced tokens, then its own."""

    row: Row
    option: int | None
    logprobs: list[float]
    """Log-probability (nats) of each option of the slot."""
    forced: tuple[int, ...]
    budget: int
    """Tokens it may still add."""
    prompt_tokens: int
    sound: bool
    """False where the model's scores were not numbers."""
    ids: list[int] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None
    fed: int = 0
    """Forced tokens already read."""


class Pool:
    """The rows a model is answering together."""

    def __init__(self, engine: Engine, quoter: Quoter | None = None) -> None:
        self.engine = engine
        self._quoter = quoter
        self._state: State | None = None
        self._lines: list[Answer] = []
        """Which answer stands in each row of the state; one that has ended stays until swept."""

    @property
    def live(self) -> list[Row]:
        """The rows that are not answered yet."""
        return [a.row for a in self._lines if a.finish is None]

    def admit(self, state: State, rows: Sequence[Row]) -> list[Answer]:
        """Take in rows whose prompts have been read; returns those that are over at once."""
        sound = (~state.logits.isnan().any(dim=-1)).tolist()
        scores = self.engine.scores(state, rows)
        counts = state.mask.sum(dim=1).tolist()
        facts = zip(rows, scores, counts, sound, strict=True)
        fresh = [_opened(*each) for each in facts]
        over = [a for a in fresh if a.finish]
        open_ = [k for k, a in enumerate(fresh) if not a.finish]
        if not open_:
            return over
        if over:
            state = select(state, open_)
        lines = [fresh[k] for k in open_]
        head = min(len(a.forced) for a in lines)
        if head:
            self.engine.feed(state, [a.forced[:head] for a in lines])
        for a in lines:
            a.fed = head
        if self._state is None:
            self._state, self._lines = state, lines
        else:
            kept = [k for k, a in enumerate(self._lines) if a.finish is None]
            self._state = merge([select(self._state, kept), state])
            self._lines = [*(self._lines[k] for k in kept), *lines]
        return over

    def step(self) -> list[Answer]:
        """One more token for every row; returns the rows that ended with it."""
        if self._state is None:
            return []
        best = self._best(self._state.logits)
        going = [a.finish is None for a in self._lines]
        tokens = [[self._take(a, t)] for a, t in zip(self._lines, best, strict=True)]
        ended = [a for a, was in zip(self._lines, going, strict=True) if was and a.finish]
        kept = [k for k, a in enumerate(self._lines) if a.finish is None]
        if not kept:
            self.clear()
            return ended
        # Sweeping copies the past, so rows that ended wait until an eighth of the batch has.
        if 8 * len(kept) <= 7 * len(self._lines):
            self._state = select(self._state, kept)
            self._lines = [self._lines[k] for k in kept]
            tokens = [tokens[k] for k in kept]
        self.engine.feed(self._state, tokens)
        return ended

    def clear(self) -> None:
        """Forget every row."""
        self._state, self._lines = None, []

    def _best(self, scores: torch.Tensor) -> list[int]:
        """The likeliest token of every row, among those that keep its quotes verbatim."""
        best: list[int] = scores.argmax(-1).tolist()
        if self._quoter is not None:
            for k, a in enumerate(self._lines):
                if a.row.quotes and a.finish is None and a.fed == len(a.forced):
                    said = a.ids, a.forced, a.row.quotes
                    best[k] = self._quoter.choose(*said, scores[k], best[k])
        return best

    def _take(self, answer: Answer, best: int) -> int:
        """The token a row goes on with; `best` is the model's own."""
        if answer.finish is not None:
            return best
        if answer.fed < len(answer.forced):
            answer.fed += 1
            return answer.forced[answer.fed - 1]
        if best in self.engine.ends:
            answer.finish = "stop"
        else:
            answer.ids.append(best)
            answer.budget -= 1
            if answer.budget == 0:
                answer.finish = "length"
        return best


def _opened(row: Row, scores: list[float], count: int, sound: bool) -> Answer:
    """A row with its slot filled by the likeliest option (the first of equals)."""
    if row.slot is None or not scores:
        return Answer(row, None, [], (), row.budget, count, sound, finish=None if sound else "stop")
    pick = scores.index(max(scores)) if sound else 0
    budget = max(row.budget - row.slot.scored[pick], 0)
    finish: Literal["length"] | None = None if budget and sound else "length"
    return Answer(row, pick, scores, row.slot.forced[pick], budget, count, sound, finish=finish)
