"""Texts that are the same once folded, or nearly the same by their word trigrams.

The near ones are found exactly, not by chance as MinHash would: two sets whose Jaccard index is at
least t share one of their rarest items (prefix filtering, Bayardo, Ma and Srikant 2007), so only
texts that share a rare trigram are compared. Knows nothing of posts or splits.

    fold("@ann Great PHONE  https://x.co/1")                # "@user great phone url"
    index = Index([shingles(fold(t)) for t in train], 0.5)
    index.nearest(shingles(fold("...")))                    # Near(at=3, jaccard=0.71, among=1)
"""

import html
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import ceil
from typing import NamedTuple

NORMALIZATION = (
    "HTML entities resolved, NFKC, casefolded, format characters dropped, URLs are `url`, "
    "@mentions (`@ name` too) `@user`, a masked target ($T$) `$t$`, runs of white space one blank"
)
"""What `fold` does, for whoever prints a figure."""

MIN_WORDS = 6
"""Words of its own that a text must have to be compared for nearness."""

_URL = re.compile(r"(?:https?://|www\.)\S+", re.I)
_MENTION = re.compile(r"@ ?\w+")
_WORD = re.compile(r"\w+|\$t\$")
_PLACEHOLDERS = frozenset({"url", "user", "rt"})

Shingles = frozenset[tuple[str, ...]]


class NearestText(NamedTuple):
    """The nearest of an index's texts."""

    position: int
    """Its place in the index; of equally near ones, the first."""
    jaccard: float
    n_similar: int
    """How many reach the threshold."""


def normalize(text: str) -> str:
    """The text without what a copy of it may differ in; see `FOLDING`."""
    normalized = unicodedata.normalize("NFKC", html.unescape(text)).casefold()
    normalized = "".join(c for c in normalized if unicodedata.category(c) != "Cf")
    return " ".join(_MENTION.sub("@user", _URL.sub("url", normalized)).split())


def has_own_words(text: str) -> bool:
    """Whether a folded text has a word of its own; `@user url` has none and equals nothing."""
    return any(w not in _PLACEHOLDERS and w != "$t$" for w in _WORD.findall(text))


def shingles(text: str, n: int = 3) -> Shingles:
    """The runs of `n` words; punctuation, mentions and URLs are left out.

    None for a text of fewer than `LEAST_WORDS` words: a stock phrase is nobody's copy.
    """
    words = [w for w in _WORD.findall(text) if w not in _PLACEHOLDERS]
    if len(words) < MIN_WORDS:
        return frozenset()
    return frozenset(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def jaccard(a: Shingles, b: Shingles) -> float:
    """Shared over all, 0..1; 0 for two empty sets."""
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared) if shared else 0.0


class ShingleIndex:
    """Sets of shingles that can be asked for the one nearest to another.

    `threshold` is the least Jaccard index, in (0, 1]. Time is linear in the texts as long as their
    rarest trigrams are rare; the answer is the same as that of comparing all.
    """

    def __init__(self, sets: Sequence[Shingles], threshold: float) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"the threshold must be in 0..1, not {threshold}")
        self._sets = sets
        self._threshold = threshold
        self._frequency = Counter(s for shingle_set in sets for s in shingle_set)
        self._postings: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for position, shingle_set in enumerate(sets):
            for s in self._prefix(shingle_set):
                self._postings[s].append(position)

    def nearest(self, query: Shingles, excluded: Iterable[int] = ()) -> NearestText | None:
        """The nearest set that reaches the threshold, those at `besides` left out; else None."""
        candidates = {position for s in self._prefix(query) for position in self._postings.get(s, ())}
        candidates -= set(excluded)
        scored = [(-j, position) for position in candidates if (j := self._similarity(query, position)) >= self._threshold]
        if not scored:
            return None
        best, position = min(scored)
        return NearestText(position, -best, len(scored))

    def _similarity(self, query: Shingles, position: int) -> float:
        other = self._sets[position]
        short, long = sorted((len(query), len(other)))
        return 0.0 if short < self._threshold * long else jaccard(query, other)

    def _prefix(self, shingle_set: Shingles) -> list[tuple[str, ...]]:
        """The rarest items, so many that two near sets share one of them.

        The epsilon keeps a product such as 0.7 * 10, a little over 7, from being rounded up.
        """
        prefix_length = len(shingle_set) - ceil(self._threshold * len(shingle_set) - 1e-9) + 1
        return sorted(shingle_set, key=lambda s: (self._frequency[s], s))[:prefix_length] if shingle_set else []
