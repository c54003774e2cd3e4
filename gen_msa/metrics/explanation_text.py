"""Shared code of the families about explanations: words, quotes, aspect terms and masked labels.

split_words("Not a bad one, it's #new")      # ['not', 'a', 'bad', 'one', "it's", 'new']
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from gen_msa.errors import UserError
from gen_msa.metrics._pairs import Pair
from gen_msa.spans import MAX_QUOTE_SEARCH_CHARS, QUOTATION, SearchableText, fold

if TYPE_CHECKING:
    from gen_msa.metrics.base import Array


_LABEL_NAMES = (
    r"(?:un)?favou?rabl[ey]\w*",
    r"(?:dis)?approv(?:al|ing|ingly)",
    r"(?:anti|sym)path(?:etic|y)\w*",
    r"(?:non-?|semi-?)?positi[vf]\w*",
    r"(?:non-?)?negati[vf]\w*",
    r"(?:non-?)?neutr[aeo]\w*",
    r"impartial\w*",
    r"indifferen\w*",
    r"ambivalen\w*",
    r"unbiased",
    r"objectiv\w*",
    r"(?:un)?emotional\w*",
    r"adverse\w*",
    r"(?:opti|pessi)mis\w*",
    r"pos|neg|neu",
    r"prais\w*|blam(?:e[ds]?|ing)|complain\w*|compliment\w*|critici[sz]\w*|condemn\w*",
    r"(?:speaks?|said|says?|spoken) (?:for or against|for|against)",
    r"without (?:an? |any )?(?:opinion|judge?ment|verdict|sentiment)",
)
_UNSPACED = (
    "积极|消极|中性|中立|正面|负面|肯定|否定|ポジティブ|ネガティブ|ニュートラル|긍정|부정|중립"
)
_LABEL_PATTERN = re.compile(rf"\b(?:{'|'.join(_LABEL_NAMES)})\b|(?:{_UNSPACED})", re.IGNORECASE)


def mask_labels(explanation: str, labels: Iterable[str] = ()) -> str:
    """Remove the names of labels from an explanation, so that the rest must support the answer.

    Args:
        explanation: The text.
        labels: Label words of a custom prompt, besides the usual ones.

    Returns:
        The text without label words, its whitespace collapsed; may be empty.
    """
    text = _LABEL_PATTERN.sub(" ", explanation)
    for label in sorted({w for w in labels if w.strip()}, key=len, reverse=True):
        boundary = r"\b" if label[0].isascii() else ""
        text = re.sub(rf"{boundary}{re.escape(label)}{boundary}", " ", text, flags=re.IGNORECASE)
    return " ".join(text.split())


MAX_WORDS = 1_000
"""Words of one explanation that are analysed; only a model in a loop writes more."""

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+(?:['’][^\W_]+)*")
_EDGE_PUNCTUATION = ".,;:!?…。，！？ "


def truncated_explanation(pair: Pair) -> str:
    """Return the predicted explanation, cut at `MAX_QUOTE_SEARCH_CHARS` characters."""
    return pair.explanation[:MAX_QUOTE_SEARCH_CHARS]


def split_words(text: str) -> list[str]:
    """Return the words of a text after NFC and case folding: letters, digits, inner apostrophes.

    A Han or kana character is a word of its own.
    """
    return [w.replace("’", "'") for w in _WORD.findall(fold(text))]


def aspect_terms(pair: Pair) -> tuple[str, frozenset[str]]:
    """Return the aspect of the prediction and the other aspects of the post, case-folded.

    The first is "" if the opinion is about the whole post. An aspect with the same term is no other
    one.
    """
    aspect_term = fold(pair.prediction.aspect.term.strip()) if pair.prediction else ""
    all_terms = {fold(a.term.strip()) for a in pair.post.aspects}
    return aspect_term, frozenset(all_terms - {aspect_term, ""})


def extract_quotes(explanation: str, names: frozenset[str] | set[str]) -> list[str]:
    """Return the quotes of an explanation, without duplicates.

    Args:
        explanation: The text.
        names: Case-folded terms. A quote of nothing but one of these is excluded: it names what is
            judged and takes nothing from the post.
    """
    quotes = (m.group(m.lastindex or 0).strip() for m in QUOTATION.finditer(explanation))
    return list(
        dict.fromkeys(
            q for q in quotes if split_words(q) and fold(q.strip(_EDGE_PUNCTUATION)) not in names
        )
    )


def without_quotes(explanation: str, names: frozenset[str] | set[str]) -> str:
    """Return an explanation without its quotes.

    Args:
        explanation: The text.
        names: Case-folded terms. A quote of nothing but one of these stays.
    """

    def replace_quote(match: re.Match[str]) -> str:
        quote = match.group(match.lastindex or 0)
        return match.group() if fold(quote.strip(_EDGE_PUNCTUATION)) in names else " … "

    return QUOTATION.sub(replace_quote, explanation)


def occurs_in(quote: str, text: SearchableText) -> bool:
    """Return whether a quote occurs in a text as whole words, without punctuation at its ends.

    Args:
        quote: The quote.
        text: The text.
    """
    candidates = (quote, quote.strip(_EDGE_PUNCTUATION))
    return any(next(text.find_whole_words(q), None) for q in candidates)


def statistics_matrix(rows: Sequence[Sequence[float]]) -> "Array":
    """Return the statistics of all rows as float64, `(n, k)`."""
    return numpy.asarray(rows, dtype=numpy.float64)


def nan_divide(numerator: "Array", denominator: "Array") -> "Array":
    """Divide element by element; NaN where the denominator is not positive.

    Args:
        numerator: `(...,)`.
        denominator: `(...,)`.

    Returns:
        The quotients, float64, in the shape of the denominator.
    """
    quotient: Array = numpy.full(numpy.shape(denominator), numpy.nan)
    numpy.divide(numerator, denominator, out=quotient, where=numpy.asarray(denominator) > 0)
    return quotient


def reject_options(family: str, options: Mapping[str, Any]) -> None:
    """Refuse any option, for families without options.

    Args:
        family: The name of the family, for the message.
        options: The options.

    Raises:
        UserError: There is an option.
    """
    if options:
        option_names = ", ".join(sorted(options))
        raise UserError(
            f"the metric {family} has no option {option_names}", hint="remove the option"
        )
