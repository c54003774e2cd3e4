"""What an explanation claims, and where that comes from: the text, the picture, both, or nowhere.

A claim is a quote, or outside quotes a content word: a number, or a word of three letters or more
whose stem is not on the stop list (grammar, reporting, bare verdict) and not of the aspect's own
name; each stem once. A quote is supported where it stands as whole words, a word where its stem
does. The picture is what the reader was shown of it in words (`shown`: caption, objects, context);
a picture nobody described supports nothing. Like FActScore, precision is the mean over explanations
that claim something, and the share that does is printed beside it (`responds`).

Knows nothing of meaning: a paraphrase is unsupported, and a word at the wrong place is supported.
The stop list is English.

    metrics["grounding"]().rows(pairs)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics._stopwords import DIGEST, STOP, stem
from gen_msa.metrics.base import Figure, Undefined, metrics
from gen_msa.metrics.explained import (
    MAX_WORDS,
    claim,
    explanation,
    quoted,
    ratio,
    stands,
    table,
    take_none,
    terms,
    words,
)
from gen_msa.spans import Spans

if TYPE_CHECKING:
    from gen_msa.metrics.base import Array

PICTURE = ("caption", "objects", "context")
"""Names in `Pair.shown` under which the picture stands in words."""


@dataclass(frozen=True)
class Claim:
    """One atomic claim of an explanation, and whether each source supports it."""

    words: str
    """A quote as it is written, or a content word after folding."""
    in_text: bool
    in_picture: bool


@metrics.register
class Grounding:
    """Claims of explanations by their source."""

    figures: tuple[Figure, ...] = (
        Figure("precision", "supported claims of an explanation, mean over those that claim"),
        Figure("responds", "opinions whose explanation claims something"),
        Figure("text", "claims that the text alone supports, of all claims", better=""),
        Figure("picture", "claims that only the picture's words support, of all", better=""),
        Figure("both", "claims that both support, of all", better=""),
        Figure("nowhere", "claims that nothing supports, of all", better="low"),
        Figure("claims", "claims of an explanation that claims, mean", unit="count", better=""),
    )
    signature = f"quotes and content words; stop list {DIGEST}"

    def __init__(self, **options: Any) -> None:
        take_none("grounding", options)

    def rows(self, pairs: Sequence[Pair]) -> "Array":
        """Columns: said something, claims something, precision, claims, of the text alone, of the
        picture alone, of both.
        """
        found = [_row(p) for p in pairs]
        if not any(r[0] for r in found):
            raise Undefined("the reader said nothing")
        return table(found)

    def values(self, sums: "Array") -> "dict[str, Array]":
        """All but `responds` are NaN where nothing is claimed."""
        claims, text, picture, both = (sums[..., i] for i in (3, 4, 5, 6))
        return {
            "precision": ratio(sums[..., 2], sums[..., 1]),
            "responds": ratio(sums[..., 1], sums[..., 0]),
            "text": ratio(text, claims),
            "picture": ratio(picture, claims),
            "both": ratio(both, claims),
            "nowhere": ratio(claims - text - picture - both, claims),
            "claims": ratio(claims, sums[..., 1]),
        }


def claims(pair: Pair) -> list[Claim]:
    """The claims of the reader's explanation, quotes first, each with its sources."""
    own, _ = terms(pair)
    names = {own} - {""}
    picture = "\n".join(pair.shown[k] for k in PICTURE if pair.shown.get(k))
    text = _Source(pair.post.text)
    seen = _Source(picture)
    said = [Claim(q, text.quotes(q), seen.quotes(q)) for q in quoted(explanation(pair), names)]
    stems: dict[str, str] = {}
    for word in words(claim(explanation(pair), frozenset()))[:MAX_WORDS]:
        stems.setdefault(stem(word), word)
    skipped = STOP | {stem(w) for w in words(own)}
    content = {s: w for s, w in stems.items() if s not in skipped and (len(w) > 2 or w.isdigit())}
    return said + [Claim(w, s in text.stems, s in seen.stems) for s, w in content.items()]


class _Source:
    def __init__(self, text: str) -> None:
        self._spans = Spans(text)
        self.stems = frozenset(stem(w) for w in words(text))

    def quotes(self, quote: str) -> bool:
        return stands(quote, self._spans)


def _row(pair: Pair) -> tuple[float, ...]:
    if pair.said is None:
        return (0,) * 7
    found = claims(pair) if pair.explanation else []
    if not found:
        return (1, 0, 0, 0, 0, 0, 0)
    both = sum(c.in_text and c.in_picture for c in found)
    text = sum(c.in_text for c in found) - both
    picture = sum(c.in_picture for c in found) - both
    n = len(found)
    return (1, 1, (both + text + picture) / n, n, text, picture, both)
