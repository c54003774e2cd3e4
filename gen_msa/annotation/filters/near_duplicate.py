"""The explanation is not a near-duplicate of an earlier one in the file.

Two explanations are near-duplicates if the Jaccard similarity of their word trigrams (Broder 1997)
is at least `max_similarity`; the aspect's name counts as the same word in all. The first one is
kept. Prefix filtering (Chaudhuri et al. 2006) finds all candidates.

    filters={near_duplicate: {max_similarity: 0.8}}
"""

import math
import zlib
from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, JsonValue

from gen_msa.annotation.filters.base import NO_EXPLANATION, Candidate, FilterContext, Stage, filters
from gen_msa.metrics.explanation_text import split_words
from gen_msa.settings import Settings

_SHINGLE_SIZE = 3


class NearDuplicateOptions(Settings):
    """What counts as a near-duplicate."""

    max_similarity: float = Field(default=0.8, gt=0.0, le=1.0)
    """Jaccard similarity from which two explanations are near-duplicates."""


@filters.register
class NearDuplicateFilter:
    """Stores the hashed word trigrams of accepted explanations."""

    Options: ClassVar[type[Settings]] = NearDuplicateOptions
    stage: ClassVar[Stage] = "file"

    def __init__(self, options: NearDuplicateOptions, context: FilterContext) -> None:
        self._max_similarity = options.max_similarity
        self._accepted: list[tuple[str, frozenset[int]]] = []
        self._rows_by_shingle: defaultdict[int, list[int]] = defaultdict(list)

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Reject an explanation that is a near-duplicate of an earlier one; store the others."""
        return [self._verdict(row) for row in rows]

    def fingerprint(self) -> JsonValue:
        """Return None: only the options matter."""
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
                return f"similar to the explanation of post {post!r}"
        for shingle in prefix:
            self._rows_by_shingle[shingle].append(len(self._accepted))
        self._accepted.append((row.post.id, shingles))
        return None


def _shingles(explanation: str, term: str) -> frozenset[int]:
    """Return hashes of the word trigrams of an explanation; of all words if it is shorter."""
    tokens, aspect_tokens = split_words(explanation), split_words(term)
    if aspect_tokens:
        text = f" {' '.join(tokens)} ".replace(f" {' '.join(aspect_tokens)} ", " \0 ")
        tokens = text.split()
    if not tokens:
        return frozenset()
    starts = range(max(len(tokens) - _SHINGLE_SIZE, 0) + 1)
    return frozenset(zlib.crc32(" ".join(tokens[i : i + _SHINGLE_SIZE]).encode()) for i in starts)
