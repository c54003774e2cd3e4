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
from gen_msa.metrics._stopwords import STOP_LIST_DIGEST, STOP_STEMS, stem
from gen_msa.metrics.base import MetricSpec, UndefinedMetric, metrics
from gen_msa.metrics.explained import (
    MAX_WORDS,
    without_quotes,
    truncated_explanation,
    extract_quotes,
    nan_divide,
    occurs_in,
    statistics_matrix,
    reject_options,
    aspect_terms,
    split_words,
)
from gen_msa.spans import SearchableText

if TYPE_CHECKING:
    from gen_msa.metrics.base import Array

IMAGE_TEXT_KEYS = ("caption", "objects", "context")
"""Names in `Pair.shown` under which the picture stands in words."""


@dataclass(frozen=True)
class Claim:
    """One atomic claim of an explanation, and whether each source supports it."""

    text: str
    """A quote as it is written, or a content word after folding."""
    in_text: bool
    in_image: bool


@metrics.register
class Grounding:
    """Claims of explanations by their source."""

    specs: tuple[MetricSpec, ...] = (
        MetricSpec("precision", "supported claims of an explanation, mean over those that claim"),
        MetricSpec("responds", "opinions whose explanation claims something"),
        MetricSpec("text", "claims that the text alone supports, of all claims", better=""),
        MetricSpec("picture", "claims that only the picture's words support, of all", better=""),
        MetricSpec("both", "claims that both support, of all", better=""),
        MetricSpec("nowhere", "claims that nothing supports, of all", better="low"),
        MetricSpec("claims", "claims of an explanation that claims, mean", unit="count", better=""),
    )
    signature = f"quotes and content words; stop list {STOP_LIST_DIGEST}"

    def __init__(self, **options: Any) -> None:
        reject_options("grounding", options)

    def row_statistics(self, pairs: Sequence[Pair]) -> "Array":
        """Columns: said something, claims something, precision, claims, of the text alone, of the
        picture alone, of both.
        """
        rows = [_row_statistics(p) for p in pairs]
        if not any(r[0] for r in rows):
            raise UndefinedMetric("the reader said nothing")
        return statistics_matrix(rows)

    def compute(self, sums: "Array") -> "dict[str, Array]":
        """All but `responds` are NaN where nothing is claimed."""
        n_claims, text, image, both = (sums[..., i] for i in (3, 4, 5, 6))
        return {
            "precision": nan_divide(sums[..., 2], sums[..., 1]),
            "responds": nan_divide(sums[..., 1], sums[..., 0]),
            "text": nan_divide(text, n_claims),
            "picture": nan_divide(image, n_claims),
            "both": nan_divide(both, n_claims),
            "nowhere": nan_divide(n_claims - text - image - both, n_claims),
            "claims": nan_divide(n_claims, sums[..., 1]),
        }


def extract_claims(pair: Pair) -> list[Claim]:
    """The claims of the reader's explanation, quotes first, each with its sources."""
    aspect_term, _ = aspect_terms(pair)
    names = {aspect_term} - {""}
    image_text = "\n".join(pair.extra_inputs[k] for k in IMAGE_TEXT_KEYS if pair.extra_inputs.get(k))
    post_support = _SupportText(pair.post.text)
    image_support = _SupportText(image_text)
    quote_claims = [Claim(q, post_support.supports_quote(q), image_support.supports_quote(q)) for q in extract_quotes(truncated_explanation(pair), names)]
    stems: dict[str, str] = {}
    for word in split_words(without_quotes(truncated_explanation(pair), frozenset()))[:MAX_WORDS]:
        stems.setdefault(stem(word), word)
    ignored_stems = STOP_STEMS | {stem(w) for w in split_words(aspect_term)}
    content_words = {s: w for s, w in stems.items() if s not in ignored_stems and (len(w) > 2 or w.isdigit())}
    return quote_claims + [Claim(w, s in post_support.stems, s in image_support.stems) for s, w in content_words.items()]


class _SupportText:
    def __init__(self, text: str) -> None:
        self._spans = SearchableText(text)
        self.stems = frozenset(stem(w) for w in split_words(text))

    def supports_quote(self, quote: str) -> bool:
        return occurs_in(quote, self._spans)


def _row_statistics(pair: Pair) -> tuple[float, ...]:
    if pair.prediction is None:
        return (0,) * 7
    found = extract_claims(pair) if pair.explanation else []
    if not found:
        return (1, 0, 0, 0, 0, 0, 0)
    both = sum(c.in_text and c.in_image for c in found)
    text = sum(c.in_text for c in found) - both
    image = sum(c.in_image for c in found) - both
    n = len(found)
    return (1, 1, (both + text + image) / n, n, text, image, both)
