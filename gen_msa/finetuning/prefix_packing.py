"""One sequence a post: what its rows have in common once, then each row's rest as a branch.

A branch sees the shared part and itself, never another branch, and stands at the positions it would
have alone; so the loss is that of separate rows. Plain lists of numbers; knows no model.

    joined([row_a, row_b])       # one Sequence with segments 0 0 0 … 1 1 1 … 2 2 2 …
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gen_msa.backends.hf.batching import common_prefix_length
from gen_msa.finetuning.tokenization import TokenizedExample

MIN_SHARED_TOKENS = 4
"""Tokens that rows must share to be joined."""


@dataclass(frozen=True)
class PackedSequence:
    """One line of a batch."""

    rows: tuple[TokenizedExample, ...]
    ids: tuple[int, ...]
    segments: tuple[int, ...]
    """0 for the shared part, k for the k-th row's own branch."""
    positions: tuple[int, ...]
    aligned: dict[str, tuple[int, ...]]
    answers: tuple[tuple[int, int], ...]
    """For each row where its answer's tokens stand: [from, to) in `ids`."""

    @property
    def is_packed(self) -> bool:
        """Whether it holds more than one row."""
        return len(self.rows) > 1


def unpacked(row: TokenizedExample) -> PackedSequence:
    """A row as a line of its own."""
    n = len(row.ids)
    answer = ((row.prompt_length, n),)
    return PackedSequence((row,), row.ids, (0,) * n, tuple(range(n)), row.aligned, answer)


def pack(rows: Sequence[TokenizedExample]) -> list[PackedSequence]:
    """The rows of one post as few lines as they allow; rows that share too little stay alone."""
    sequences: list[PackedSequence] = []
    groups: list[list[TokenizedExample]] = []
    for row in rows:
        matching = next((g for g in groups if _shared_prefix([*g, row]) >= MIN_SHARED_TOKENS), None)
        if matching is None:
            groups.append([row])
        else:
            matching.append(row)
    for group in groups:
        sequences.append(unpacked(group[0]) if len(group) == 1 else _pack_group(group))
    return sequences


def _shared_prefix(rows: Sequence[TokenizedExample]) -> int:
    """Tokens all rows begin with alike; at least the last token of each prompt stays its own."""
    first = rows[0]
    if any(
        r.expander_row and first.expander_row and r.expander_row.images != first.expander_row.images
        for r in rows
    ):
        return 0
    if len({r.expander_row is None for r in rows}) > 1:
        return 0
    end = min(r.prompt_length - 1 for r in rows)
    for row in rows[1:]:
        end = min(end, common_prefix_length(first.ids[:end], row.ids[:end]))
        for name, values in row.aligned.items():
            end = min(end, common_prefix_length(first.aligned[name][:end], values[:end]))
    return end


def _pack_group(rows: Sequence[TokenizedExample]) -> PackedSequence:
    prefix_length = _shared_prefix(rows)
    ids = list(rows[0].ids[:prefix_length])
    segments, positions = [0] * prefix_length, list(range(prefix_length))
    aligned = {k: list(v[:prefix_length]) for k, v in rows[0].aligned.items()}
    answers = []
    for k, row in enumerate(rows, start=1):
        suffix_length = len(row.ids) - prefix_length
        answers.append((len(ids) + suffix_length - len(row.fields), len(ids) + suffix_length))
        ids += row.ids[prefix_length:]
        segments += [k] * suffix_length
        positions += range(prefix_length, len(row.ids))
        for name, values in row.aligned.items():
            aligned[name] += values[prefix_length:]
    return PackedSequence(
        tuple(rows),
        tuple(ids),
        tuple(segments),
        tuple(positions),
        {k: tuple(v) for k, v in aligned.items()},
        tuple(answers),
    )
