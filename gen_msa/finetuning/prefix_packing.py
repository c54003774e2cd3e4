"""Packs the rows of a post into one sequence: the shared prefix once, then each row as a branch.

A branch attends to the prefix and to itself, never to another branch, and keeps the positions it
would have alone, so that the loss equals that of separate rows. Plain lists of integers.

    pack([row_a, row_b])       # [PackedSequence with segments 0 0 0 … 1 1 1 … 2 2 2 …]
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gen_msa.backends.hf.batching import common_prefix_length
from gen_msa.finetuning.tokenization import TokenizedExample

MIN_SHARED_TOKENS = 4
"""Tokens that rows must share to be packed."""


@dataclass(frozen=True)
class PackedSequence:
    """One sequence of a batch."""

    rows: tuple[TokenizedExample, ...]
    ids: tuple[int, ...]
    segments: tuple[int, ...]
    """0 for the shared prefix, k for the branch of the k-th row."""
    positions: tuple[int, ...]
    aligned: dict[str, tuple[int, ...]]
    answers: tuple[tuple[int, int], ...]
    """[Start, end) of each row's answer tokens in `ids`."""

    @property
    def is_packed(self) -> bool:
        """Whether it holds more than one row."""
        return len(self.rows) > 1


def unpacked(row: TokenizedExample) -> PackedSequence:
    """Return a row as a sequence of its own."""
    n = len(row.ids)
    answer = ((row.prompt_length, n),)
    return PackedSequence((row,), row.ids, (0,) * n, tuple(range(n)), row.aligned, answer)


def pack(rows: Sequence[TokenizedExample]) -> list[PackedSequence]:
    """Return the rows of one post in as few sequences as possible.

    Rows that share fewer than `MIN_SHARED_TOKENS` tokens are not packed.
    """
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
    """Return the length of the common prefix; the last prompt token of each row stays its own."""
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
