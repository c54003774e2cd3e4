"""What the families about explanations share: which rows explain, their words, shares of sums.

Knows nothing of any one family.

    words("Not a bad one, it's #new")      # ['not', 'a', 'bad', 'one', "it's", 'new']
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from gen_msa.errors import UserError
from gen_msa.metrics._pairs import Pair
from gen_msa.spans import MAX_QUOTE_SEARCH_CHARS, QUOTATION, SearchableText, fold

# Takes the names of the labels out of an explanation, so that what is left must carry the answer.

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
    """The explanation without the names of labels; `labels` are those of a prompt of one's own."""
    text = _LABEL_PATTERN.sub(" ", explanation)
    for label in sorted({w for w in labels if w.strip()}, key=len, reverse=True):
        boundary = r"\b" if label[0].isascii() else ""
        text = re.sub(rf"{boundary}{re.escape(label)}{boundary}", " ", text, flags=re.IGNORECASE)
    return " ".join(text.split())


if TYPE_CHECKING:
    from gen_msa.metrics.base import Array

MAX_WORDS = 1_000
"""Words of one explanation that are looked at; a looping model writes more."""

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+(?:['’][^\W_]+)*")
_EDGE_PUNCTUATION = ".,;:!?…。，！？ "


def truncated_explanation(pair: Pair) -> str:
    """The reader's explanation; of an endless one the first `MAX_CHARS` characters."""
    return pair.explanation[:MAX_QUOTE_SEARCH_CHARS]


def split_words(text: str) -> list[str]:
    """The words of a text after NFC and casefold: letters and digits, an apostrophe within.

    A Han or kana character is a word of its own.
    """
    return [w.replace("’", "'") for w in _WORD.findall(fold(text))]


def aspect_terms(pair: Pair) -> tuple[str, frozenset[str]]:
    """What the reader's explanation is about, and the post's other aspects, all folded.

    The first is "" where the opinion is about the whole post. An aspect that is named like another
    one of the post is no rival of it.
    """
    aspect_term = fold(pair.prediction.aspect.term.strip()) if pair.prediction else ""
    all_terms = {fold(a.term.strip()) for a in pair.post.aspects}
    return aspect_term, frozenset(all_terms - {aspect_term, ""})


def extract_quotes(explanation: str, names: frozenset[str] | set[str]) -> list[str]:
    """What an explanation quotes, each once. A quote that is only one of `names` (folded) is left
    out: it says what is judged, and takes nothing from the post.
    """
    quotes = (m.group(m.lastindex or 0).strip() for m in QUOTATION.finditer(explanation))
    return list(
        dict.fromkeys(
            q for q in quotes if split_words(q) and fold(q.strip(_EDGE_PUNCTUATION)) not in names
        )
    )


def without_quotes(explanation: str, names: frozenset[str] | set[str]) -> str:
    """An explanation without what it quotes; a quote that is only one of `names` stays."""

    def replace_quote(match: re.Match[str]) -> str:
        quote = match.group(match.lastindex or 0)
        return match.group() if fold(quote.strip(_EDGE_PUNCTUATION)) in names else " … "

    return QUOTATION.sub(replace_quote, explanation)


def occurs_in(quote: str, text: SearchableText) -> bool:
    """Whether a quote stands in a text as whole words; a stop at its ends is let go."""
    candidates = (quote, quote.strip(_EDGE_PUNCTUATION))
    return any(next(text.find_whole_words(q), None) for q in candidates)


def statistics_matrix(rows: Sequence[Sequence[float]]) -> "Array":
    """What each pair adds, as float64."""
    return numpy.asarray(rows, dtype=numpy.float64)


def nan_divide(numerator: "Array", denominator: "Array") -> "Array":
    """`over / under`, NaN where there is nothing to divide by."""
    out: Array = numpy.full(numpy.shape(denominator), numpy.nan)
    numpy.divide(numerator, denominator, out=out, where=numpy.asarray(denominator) > 0)
    return out


def reject_options(family: str, options: Mapping[str, Any]) -> None:
    """Raise `UserError` for any option: these families have none."""
    if options:
        option_names = ", ".join(sorted(options))
        raise UserError(f"the metric {family} has no option {option_names}", hint="leave it out")
