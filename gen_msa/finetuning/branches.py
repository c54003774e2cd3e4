"""One sequence a post: what its rows have in common once, then each row's rest as a branch.

A branch sees the shared part and itself, never another branch, and stands at the positions it would
have alone; so the loss is that of separate rows. Plain lists of numbers; knows no model.

    joined([row_a, row_b])       # one Sequence with segments 0 0 0 … 1 1 1 … 2 2 2 …
"""

from collections.abc import Sequence as Many
from dataclasses import dataclass

from gen_msa.backends.local.plan import common
from gen_msa.finetuning.encode import Encoded

MIN_GAIN = 4
"""Tokens that rows must share to be joined."""


@dataclass(frozen=True)
class Sequence:
    """One line of a batch."""

    rows: tuple[Encoded, ...]
    ids: tuple[int, ...]
    segments: tuple[int, ...]
    """0 for the shared part, k for the k-th row's own branch."""
    positions: tuple[int, ...]
    aligned: dict[str, tuple[int, ...]]
    answers: tuple[tuple[int, int], ...]
    """For each row where its answer's tokens stand: [from, to) in `ids`."""

    @property
    def branched(self) -> bool:
        """Whether it holds more than one row."""
        return len(self.rows) > 1


def alone(row: Encoded) -> Sequence:
    """A row as a line of its own."""
    n = len(row.ids)
    answer = ((row.prompt_length, n),)
    return Sequence((row,), row.ids, (0,) * n, tuple(range(n)), row.aligned, answer)


def joined(rows: Many[Encoded]) -> list[Sequence]:
    """The rows of one post as few lines as they allow; rows that share too little stay alone."""
    out: list[Sequence] = []
    groups: list[list[Encoded]] = []
    for row in rows:
        fit = next((g for g in groups if _shared([*g, row]) >= MIN_GAIN), None)
        if fit is None:
            groups.append([row])
        else:
            fit.append(row)
    for group in groups:
        out.append(alone(group[0]) if len(group) == 1 else _join(group))
    return out


def _shared(rows: Many[Encoded]) -> int:
    """Tokens all rows begin with alike; at least the last token of each prompt stays its own."""
    first = rows[0]
    if any(r.asked and first.asked and r.asked.pictures != first.asked.pictures for r in rows):
        return 0
    if len({r.asked is None for r in rows}) > 1:
        return 0
    end = min(r.prompt_length - 1 for r in rows)
    for row in rows[1:]:
        end = min(end, common(first.ids[:end], row.ids[:end]))
        for name, values in row.aligned.items():
            end = min(end, common(first.aligned[name][:end], values[:end]))
    return end


def _join(rows: Many[Encoded]) -> Sequence:
    shared = _shared(rows)
    ids = list(rows[0].ids[:shared])
    segments, positions = [0] * shared, list(range(shared))
    aligned = {k: list(v[:shared]) for k, v in rows[0].aligned.items()}
    answers = []
    for k, row in enumerate(rows, start=1):
        own = len(row.ids) - shared
        answers.append((len(ids) + own - len(row.fields), len(ids) + own))
        ids += row.ids[shared:]
        segments += [k] * own
        positions += range(shared, len(row.ids))
        for name, values in row.aligned.items():
            aligned[name] += values[shared:]
    return Sequence(
        tuple(rows),
        tuple(ids),
        tuple(segments),
        tuple(positions),
        {k: tuple(v) for k, v in aligned.items()},
        tuple(answers),
    )
