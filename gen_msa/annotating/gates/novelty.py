"""Novelty: a reason is not one that stood in this file before, but for a few words.

Two reasons are near-duplicates where the runs of three words they share are at least `most` of all
they have (Jaccard; Broder 1997), the aspect's name taken for the same word in all. The first in the
file stays. Candidates are found by prefixes (Chaudhuri et al. 2006), which miss none.

    gates={novelty: {most: 0.8}}
"""

import math
import zlib
from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, JsonValue

from gen_msa.annotating.gates.base import NO_REASON, Bench, Candidate, Stage, gates
from gen_msa.metrics.explained import words
from gen_msa.settings import Settings

_RUN = 3


class NoveltyOptions(Settings):
    """What counts as the same."""

    most: float = Field(default=0.8, gt=0.0, le=1.0)
    """Share of runs of words from which on two reasons are the same."""


@gates.register
class Novelty:
    """Remembers the reasons it let pass, as hashes."""

    Options: ClassVar[type[Settings]] = NoveltyOptions
    stage: ClassVar[Stage] = "file"

    def __init__(self, options: NoveltyOptions, bench: Bench) -> None:
        self._most = options.most
        self._kept: list[tuple[str, frozenset[int]]] = []
        self._with: defaultdict[int, list[int]] = defaultdict(list)

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Refuses a reason that is much like an earlier one of the file; remembers the others."""
        return [self._verdict(row) for row in rows]

    def fingerprint(self) -> JsonValue:
        """Nothing besides the options."""
        return None

    def _verdict(self, row: Candidate) -> str | None:
        runs = _runs(row.reason, row.said.aspect.term)
        if not runs:
            return NO_REASON
        prefix = sorted(runs)[: len(runs) - math.ceil(self._most * len(runs)) + 1]
        for place in sorted({i for run in prefix for i in self._with[run]}):
            post, other = self._kept[place]
            if len(runs & other) >= self._most * len(runs | other):
                return f"much like the reason given for post {post!r}"
        for run in prefix:
            self._with[run].append(len(self._kept))
        self._kept.append((row.post.id, runs))
        return None


def _runs(reason: str, term: str) -> frozenset[int]:
    """Hashes of the runs of words of a reason; of a short one the whole."""
    said, name = words(reason), words(term)
    if name:
        text = f" {' '.join(said)} ".replace(f" {' '.join(name)} ", " \0 ")
        said = text.split()
    if not said:
        return frozenset()
    starts = range(max(len(said) - _RUN, 0) + 1)
    return frozenset(zlib.crc32(" ".join(said[i : i + _RUN]).encode()) for i in starts)
