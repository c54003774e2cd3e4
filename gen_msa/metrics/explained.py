"""What the families about explanations share: which rows explain, their words, shares of sums.

Knows nothing of any one family.

    words("Not a bad one, it's #new")      # ['not', 'a', 'bad', 'one', "it's", 'new']
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from gen_msa.errors import UserError
from gen_msa.metrics._pairs import Pair
from gen_msa.spans import MAX_CHARS, QUOTED, Spans, fold

if TYPE_CHECKING:
    from gen_msa.metrics.base import Array

MAX_WORDS = 1_000
"""Words of one explanation that are looked at; a looping model writes more."""

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+(?:['’][^\W_]+)*")
_STOPS = ".,;:!?…。，！？ "


def explanation(pair: Pair) -> str:
    """The reader's explanation; of an endless one the first `MAX_CHARS` characters."""
    return pair.explanation[:MAX_CHARS]


def words(text: str) -> list[str]:
    """The words of a text after NFC and casefold: letters and digits, an apostrophe within.

    A Han or kana character is a word of its own.
    """
    return [w.replace("’", "'") for w in _WORD.findall(fold(text))]


def terms(pair: Pair) -> tuple[str, frozenset[str]]:
    """What the reader's explanation is about, and the post's other aspects, all folded.

    The first is "" where the opinion is about the whole post. An aspect that is named like another
    one of the post is no rival of it.
    """
    own = fold(pair.said.aspect.term.strip()) if pair.said else ""
    others = {fold(a.term.strip()) for a in pair.post.aspects}
    return own, frozenset(others - {own, ""})


def quoted(said: str, names: frozenset[str] | set[str]) -> list[str]:
    """What an explanation quotes, each once. A quote that is only one of `names` (folded) is left
    out: it says what is judged, and takes nothing from the post.
    """
    found = (m.group(m.lastindex or 0).strip() for m in QUOTED.finditer(said))
    return list(dict.fromkeys(q for q in found if words(q) and fold(q.strip(_STOPS)) not in names))


def claim(said: str, names: frozenset[str] | set[str]) -> str:
    """An explanation without what it quotes; a quote that is only one of `names` stays."""

    def without(mark: re.Match[str]) -> str:
        inner = mark.group(mark.lastindex or 0)
        return mark.group() if fold(inner.strip(_STOPS)) in names else " … "

    return QUOTED.sub(without, said)


def stands(quote: str, text: Spans) -> bool:
    """Whether a quote stands in a text as whole words; a stop at its ends is let go."""
    tries = (quote, quote.strip(_STOPS))
    return any(next(text.whole(q), None) for q in tries)


def table(rows: Sequence[Sequence[float]]) -> "Array":
    """What each pair adds, as float64."""
    return numpy.asarray(rows, dtype=numpy.float64)


def ratio(over: "Array", under: "Array") -> "Array":
    """`over / under`, NaN where there is nothing to divide by."""
    out: Array = numpy.full(numpy.shape(under), numpy.nan)
    numpy.divide(over, under, out=out, where=numpy.asarray(under) > 0)
    return out


def take_none(family: str, options: Mapping[str, Any]) -> None:
    """Raise `UserError` for any option: these families have none."""
    if options:
        said = ", ".join(sorted(options))
        raise UserError(f"the metric {family} has no option {said}", mend="leave it out")
