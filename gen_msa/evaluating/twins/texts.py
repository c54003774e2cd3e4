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

FOLDING = (
    "HTML entities resolved, NFKC, casefolded, format characters dropped, URLs are `url`, "
    "@mentions (`@ name` too) `@user`, a masked target ($T$) `$t$`, runs of white space one blank"
)
"""What `fold` does, for whoever prints a figure."""

LEAST_WORDS = 6
"""Words of its own that a text must have to be compared for nearness."""

_URL = re.compile(r"(?:https?://|www\.)\S+", re.I)
_MENTION = re.compile(r"@ ?\w+")
_WORD = re.compile(r"\w+|\$t\$")
_STANDS_IN = frozenset({"url", "user", "rt"})

Shingles = frozenset[tuple[str, ...]]


class Near(NamedTuple):
    """The nearest of an index's texts."""

    at: int
    """Its place in the index; of equally near ones, the first."""
    jaccard: float
    among: int
    """How many reach the threshold."""


def fold(text: str) -> str:
    """The text without what a copy of it may differ in; see `FOLDING`."""
    plain = unicodedata.normalize("NFKC", html.unescape(text)).casefold()
    plain = "".join(c for c in plain if unicodedata.category(c) != "Cf")
    return " ".join(_MENTION.sub("@user", _URL.sub("url", plain)).split())


def says_something(folded: str) -> bool:
    """Whether a folded text has a word of its own; `@user url` has none and equals nothing."""
    return any(w not in _STANDS_IN and w != "$t$" for w in _WORD.findall(folded))


def shingles(folded: str, n: int = 3) -> Shingles:
    """The runs of `n` words; punctuation, mentions and URLs are left out.

    None for a text of fewer than `LEAST_WORDS` words: a stock phrase is nobody's copy.
    """
    words = [w for w in _WORD.findall(folded) if w not in _STANDS_IN]
    if len(words) < LEAST_WORDS:
        return frozenset()
    return frozenset(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def jaccard(a: Shingles, b: Shingles) -> float:
    """Shared over all, 0..1; 0 for two empty sets."""
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared) if shared else 0.0


class Index:
    """Sets of shingles that can be asked for the one nearest to another.

    `threshold` is the least Jaccard index, in (0, 1]. Time is linear in the texts as long as their
    rarest trigrams are rare; the answer is the same as that of comparing all.
    """

    def __init__(self, sets: Sequence[Shingles], threshold: float) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"the threshold must be in 0..1, not {threshold}")
        self._sets = sets
        self._threshold = threshold
        self._count = Counter(s for one in sets for s in one)
        self._held: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for at, one in enumerate(sets):
            for s in self._prefix(one):
                self._held[s].append(at)

    def nearest(self, asked: Shingles, besides: Iterable[int] = ()) -> Near | None:
        """The nearest set that reaches the threshold, those at `besides` left out; else None."""
        found = {at for s in self._prefix(asked) for at in self._held.get(s, ())}
        found -= set(besides)
        near = [(-j, at) for at in found if (j := self._verified(asked, at)) >= self._threshold]
        if not near:
            return None
        best, at = min(near)
        return Near(at, -best, len(near))

    def _verified(self, asked: Shingles, at: int) -> float:
        other = self._sets[at]
        short, long = sorted((len(asked), len(other)))
        return 0.0 if short < self._threshold * long else jaccard(asked, other)

    def _prefix(self, one: Shingles) -> list[tuple[str, ...]]:
        """The rarest items, so many that two near sets share one of them.

        The epsilon keeps a product such as 0.7 * 10, a little over 7, from being rounded up.
        """
        kept = len(one) - ceil(self._threshold * len(one) - 1e-9) + 1
        return sorted(one, key=lambda s: (self._count[s], s))[:kept] if one else []
