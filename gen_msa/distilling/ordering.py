"""The order of rows: each epoch has each row once, in an order of its own, the same in every run.

Knows nothing of what rows say; it is told how long they are.

    for epoch, batch in batches(lengths, size=32, epochs=4, seed=0): ...      # numbers of rows
"""

import random
from collections.abc import Iterator, Sequence

_BUCKET_BATCHES = 16
"""Batches whose rows are sorted by length together, so that little is padding."""


def epoch_batches(
    lengths: Sequence[int], *, size: int, epochs: int, seed: int
) -> Iterator[tuple[int, list[int]]]:
    """The epoch (from 0) and the rows of every step; the last batch of an epoch may be smaller."""
    for epoch in range(epochs):
        rng = random.Random(f"{seed}/{epoch}")
        order = rng.sample(range(len(lengths)), len(lengths))
        chunk = size * _BUCKET_BATCHES
        chunks = [order[i : i + chunk] for i in range(0, len(order), chunk)]
        order = [i for c in chunks for i in sorted(c, key=lambda i: lengths[i])]
        shuffled_batches = [order[i : i + size] for i in range(0, len(order), size)]
        for batch in rng.sample(shuffled_batches, len(shuffled_batches)):
            yield epoch, batch
