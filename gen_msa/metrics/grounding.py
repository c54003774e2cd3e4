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

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import MetricSpec, UndefinedMetric, metrics
from gen_msa.metrics.text.explanations import (
    MAX_WORDS,
    aspect_terms,
    extract_quotes,
    nan_divide,
    occurs_in,
    reject_options,
    split_words,
    statistics_matrix,
    truncated_explanation,
    without_quotes,
)
from gen_msa.spans import SearchableText

# Words that claim nothing of a post: those of grammar, of reporting, and of the bare verdict.

_GRAMMAR_WORDS = """a about above across after again against all almost along already also although always
    am among an and another any anybody anyone anything are aren't around as aside at away back be
    because been before behind being below beside besides between both but by can can't cannot come
    could couldn't did didn't do does doesn't doing don't done down due during each either else
    enough etc even ever every everyone everything far few first for from further get go got had
    hadn't has hasn't have haven't having he her here hers herself him himself his how however i if
    in indeed instead into is isn't it it's its itself just keep kind last least less let like made
    make many may me might more most much must my myself near neither never no nobody none nor not
    nothing now of off often on once one only onto or other others otherwise our ours out over own
    per perhaps quite rather really same self several shall she should since so some somebody
    someone something still such take than that that's the their theirs them themselves then there
    therefore these they thing this those though through thus till to together too toward towards
    under until up upon us use very via was wasn't way we well were weren't what when where whether
    which while who whole whom whose why will with within without won't would yes yet you your
    yours yourself"""
_REPORTING_WORDS = """according add allude appear aspect author because call caption claim clause comment
    context convey describe description detail display emphasise emphasize evidence explain
    explanation express expression fact frame give highlight image imply indicate indication irony
    joke label language mean mention message name news note object opinion paragraph phrase photo
    photograph picture plain point post present quote read reader reason refer reflect remark report
    sarcasm say said see seem seen sense sentence sentiment show shown sound speak state statement
    stress suggest supply talk tell text think thought told tone towards tweet underline use user
    view visual voice word wording write writer written"""
_VERDICT_WORDS = """
    admire admiration annoy annoyance appreciate appreciation approval approve attitude
    bad
    blame complain complaint critical criticise criticism criticize disappoint disappointment
    disapproval dislike emotion enjoy enthusiasm excited excitement favorable favourable feel
    feeling felt frustrate frustration good happy hate judge judgement judgment like love mixed mock
    mood negative negativity negatively neutral neutrality objective please pleased polarity
    positive poor positively positivity praise regard satisfaction satisfied thank unfavorable
    unfavourable unhappy"""

_ENDINGS = (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("ly", ""), ("s", ""))


def stem(word: str) -> str:
    """A folded word without the commonest endings of English; at least three letters are left.

    After `'s`, the first ending that fits is taken off (`ies`, which leaves a y, `ing`, `ed`, `es`,
    `ly`, and `s` but not from `ss`), then a doubled last consonant is made one, or a last e goes.
    """
    word = word.removesuffix("'s")
    for ending, replacement in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)] + replacement
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiou":
        return word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word


STOP_STEMS = frozenset(
    stem(w) for w in f"{_GRAMMAR_WORDS} {_REPORTING_WORDS} {_VERDICT_WORDS}".split()
)
"""Stems that are no claims."""

STOP_LIST_DIGEST = hashlib.sha256("\n".join(sorted(STOP_STEMS)).encode()).hexdigest()[:8]


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
    image_text = "\n".join(
        pair.extra_inputs[k] for k in IMAGE_TEXT_KEYS if pair.extra_inputs.get(k)
    )
    post_support = _SupportText(pair.post.text)
    image_support = _SupportText(image_text)
    quote_claims = [
        Claim(q, post_support.supports_quote(q), image_support.supports_quote(q))
        for q in extract_quotes(truncated_explanation(pair), names)
    ]
    stems: dict[str, str] = {}
    for word in split_words(without_quotes(truncated_explanation(pair), frozenset()))[:MAX_WORDS]:
        stems.setdefault(stem(word), word)
    ignored_stems = STOP_STEMS | {stem(w) for w in split_words(aspect_term)}
    content_words = {
        s: w for s, w in stems.items() if s not in ignored_stems and (len(w) > 2 or w.isdigit())
    }
    return quote_claims + [
        Claim(w, s in post_support.stems, s in image_support.stems)
        for s, w in content_words.items()
    ]


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
