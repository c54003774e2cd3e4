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

from gen_msa.annotation.filters.base import NO_EXPLANATION, Candidate, FilterContext, Stage, filters
from gen_msa.metrics.text.explanations import split_words
from gen_msa.settings import Settings

_SHINGLE_SIZE = 3


class NearDuplicateOptions(Settings):
    """What counts as the same."""

    max_similarity: float = Field(default=0.8, gt=0.0, le=1.0)
    """Share of runs of words from which on two reasons are the same."""


@filters.register
class NearDuplicateFilter:
    """Remembers the reasons it let pass, as hashes."""

    Options: ClassVar[type[Settings]] = NearDuplicateOptions
    stage: ClassVar[Stage] = "file"

    def __init__(self, options: NearDuplicateOptions, context: FilterContext) -> None:
        self._max_similarity = options.max_similarity
        self._accepted: list[tuple[str, frozenset[int]]] = []
        self._rows_by_shingle: defaultdict[int, list[int]] = defaultdict(list)

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Refuses a reason that is much like an earlier one of the file; remembers the others."""
        return [self._verdict(row) for row in rows]

    def fingerprint(self) -> JsonValue:
        """Nothing besides the options."""
        return None

    def _verdict(self, row: Candidate) -> str | None:
        shingles = _shingles(row.explanation, row.opinion.aspect.term)
        if not shingles:
            return NO_EXPLANATION
        prefix = sorted(shingles)[
            : len(shingles) - math.ceil(self._max_similarity * len(shingles)) + 1
        ]
        for row_index in sorted({i for shingle in prefix for i in self._rows_by_shingle[shingle]}):
            post, other = self._accepted[row_index]
            if len(shingles & other) >= self._max_similarity * len(shingles | other):
                return f"much like the reason given for post {post!r}"
        for shingle in prefix:
            self._rows_by_shingle[shingle].append(len(self._accepted))
        self._accepted.append((row.post.id, shingles))
        return None


def _shingles(explanation: str, term: str) -> frozenset[int]:
    """Hashes of the runs of words of a reason; of a short one the whole."""
    tokens, aspect_tokens = split_words(explanation), split_words(term)
    if aspect_tokens:
        text = f" {' '.join(tokens)} ".replace(f" {' '.join(aspect_tokens)} ", " \0 ")
        tokens = text.split()
    if not tokens:
        return frozenset()
    starts = range(max(len(tokens) - _SHINGLE_SIZE, 0) + 1)
    return frozenset(zlib.crc32(" ".join(tokens[i : i + _SHINGLE_SIZE]).encode()) for i in starts)
