"""What an explanation claims, and which source supports it: the text, the image, both or neither.

A claim is a quote, or outside quotes a content word: a number, or a word of three letters or more
whose stem is not on the stop list (grammar, reporting, bare verdict) and not in the aspect's term;
each stem counts once. A quote is supported if it occurs as whole words, a word if its stem occurs.
The image counts as its description in `Pair.extra_inputs` (caption, objects, context); an image
without a description supports nothing. As in FActScore (Min et al. 2023), precision is the mean
over explanations with claims, reported with the share of those (`responds`).

Limits: a paraphrase is unsupported, and a word in the wrong context is supported. The stop list
is English.

    metrics["grounding"]().row_statistics(pairs)
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import MetricSpec, UndefinedMetric, metrics
from gen_msa.metrics.explanation_text import (
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

if TYPE_CHECKING:
    from gen_msa.metrics.base import Array


# Words that claim nothing about a post: grammar, reporting, and the bare verdict.
_GRAMMAR_WORDS = """
    a about above across after again against all almost along already also although always am among
    an and another any anybody anyone anything are aren't around as aside at away back be because
    been before behind being below beside besides between both but by can can't cannot come could
    couldn't did didn't do does doesn't doing don't done down due during each either else enough etc
    even ever every everyone everything far few first for from further get go got had hadn't has
    hasn't have haven't having he her here hers herself him himself his how however i if in indeed
    instead into is isn't it it's its itself just keep kind last least less let like made make many
    may me might more most much must my myself near neither never no nobody none nor not nothing now
    of off often on once one only onto or other others otherwise our ours out over own per perhaps
    quite rather really same self several shall she should since so some somebody someone something
    still such take than that that's the their theirs them themselves then there therefore these
    they thing this those though through thus till to together too toward towards under until up
    upon us use very via was wasn't way we well were weren't what when where whether which while who
    whole whom whose why will with within without won't would yes yet you your yours yourself"""
_REPORTING_WORDS = """
    according add allude appear aspect author because call caption claim clause comment context
    convey describe description detail display emphasise emphasize evidence explain explanation
    express expression fact frame give highlight image imply indicate indication irony joke label
    language mean mention message name news note object opinion paragraph phrase photo photograph
    picture plain point post present quote read reader reason refer reflect remark report sarcasm
    say said see seem seen sense sentence sentiment show shown sound speak state statement stress
    suggest supply talk tell text think thought told tone towards tweet underline use user view
    visual voice word wording write writer written"""
_VERDICT_WORDS = """
    admire admiration annoy annoyance appreciate appreciation approval approve attitude bad blame
    complain complaint critical criticise criticism criticize disappoint disappointment disapproval
    dislike emotion enjoy enthusiasm excited excitement favorable favourable feel feeling felt
    frustrate frustration good happy hate judge judgement judgment like love mixed mock mood
    negative negativity negatively neutral neutrality objective please pleased polarity positive
    poor positively positivity praise regard satisfaction satisfied thank unfavorable unfavourable
    unhappy"""

_ENDINGS = (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("ly", ""), ("s", ""))


def stem(word: str) -> str:
    """Strip common English endings from a case-folded word; at least three letters remain.

    After `'s`, the first matching ending is removed (`ies`, which leaves a y, `ing`, `ed`, `es`,
    `ly`, and `s` but not from `ss`), then a doubled last consonant is reduced, or a last e is
    removed.
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
"""Stems that are not claims."""

STOP_LIST_DIGEST = hashlib.sha256("\n".join(sorted(STOP_STEMS)).encode()).hexdigest()[:8]


IMAGE_TEXT_KEYS = ("caption", "objects", "context")
"""Keys of `Pair.extra_inputs` that describe the image."""


@dataclass(frozen=True)
class Claim:
    """One atomic claim of an explanation, and whether each source supports it."""

    text: str
    """A quote as written, or a case-folded content word."""
    in_text: bool
    in_image: bool


@metrics.register
class Grounding:
    """Claims of explanations by their source."""

    specs: tuple[MetricSpec, ...] = (
        MetricSpec("precision", "share of supported claims, mean over explanations with claims"),
        MetricSpec("responds", "share of opinions whose explanation has a claim"),
        MetricSpec("text", "share of claims that only the text supports", better=""),
        MetricSpec("image", "share of claims that only the image description supports", better=""),
        MetricSpec("both", "share of claims that both support", better=""),
        MetricSpec("unsupported", "share of claims that nothing supports", better="low"),
        MetricSpec("claims", "mean claims of an explanation with claims", unit="count", better=""),
    )
    signature = f"quotes and content words; stop list {STOP_LIST_DIGEST}"

    def __init__(self, **options: Any) -> None:
        reject_options("grounding", options)

    def row_statistics(self, pairs: Sequence[Pair]) -> "Array":
        """Return the columns: answers, claims something, precision, claims, then claims by source.

        The sources are the text alone, the image alone, and both.
        """
        rows = [_row_statistics(p) for p in pairs]
        if not any(r[0] for r in rows):
            raise UndefinedMetric("there are no predictions")
        return statistics_matrix(rows)

    def compute(self, sums: "Array") -> "dict[str, Array]":
        """Return each metric; all but `responds` are NaN if there is no claim.

        Args:
            sums: Sums of `row_statistics`, `(..., 7)`; each metric is `(...,)`.
        """
        n_claims, text, image, both = (sums[..., i] for i in (3, 4, 5, 6))
        return {
            "precision": nan_divide(sums[..., 2], sums[..., 1]),
            "responds": nan_divide(sums[..., 1], sums[..., 0]),
            "text": nan_divide(text, n_claims),
            "image": nan_divide(image, n_claims),
            "both": nan_divide(both, n_claims),
            "unsupported": nan_divide(n_claims - text - image - both, n_claims),
            "claims": nan_divide(n_claims, sums[..., 1]),
        }


def extract_claims(pair: Pair) -> list[Claim]:
    """Return the claims of a predicted explanation, quotes first, with their support."""
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
    claims = extract_claims(pair) if pair.explanation else []
    if not claims:
        return (1, 0, 0, 0, 0, 0, 0)
    both = sum(c.in_text and c.in_image for c in claims)
    text = sum(c.in_text for c in claims) - both
    image = sum(c.in_image for c in claims) - both
    n = len(claims)
    return (1, 1, (both + text + image) / n, n, text, image, both)
