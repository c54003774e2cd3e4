"""Find the evidence of an explanation: the words it quotes and their position in the post.

A quote that does not occur in the post is kept with `start=None`.

    collect_evidence('The word "awful" says it.', [], "Battery awful", aspect="Battery")
"""

from collections.abc import Iterable, Sequence

from gen_msa.spans import MAX_QUOTES, SearchableText, extract_quotes, fold
from gen_msa.types import Evidence


def collect_evidence(
    explanation: str | None, listed_quotes: Iterable[str], text: str, aspect: str
) -> tuple[Evidence, ...]:
    """Return the quotes that an answer lists, then those in its explanation, without duplicates.

    A quote of nothing but the aspect's own words is no evidence: it only names what is judged.

    Args:
        explanation: The explanation; text in double quotation marks counts as a quote.
        listed_quotes: Quotes from the answer's evidence field.
        text: The text of the post.
        aspect: The term of the aspect.

    Returns:
        One `Evidence` for each quote, with its offset in `text` where it occurs there.
    """
    folded_aspect = fold(aspect)
    quoted = [q for q in extract_quotes(explanation or "") if fold(q) != folded_aspect]
    candidates = [q.strip() for q in listed_quotes][:MAX_QUOTES] + quoted
    if not any(candidates):
        return ()
    searchable = SearchableText(text)
    return tuple(dict.fromkeys(_locate_quote(q, searchable) for q in candidates if q))


def _locate_quote(quote: str, searchable: SearchableText) -> Evidence:
    """Return the quote in the post's own letters; punctuation that the model added is dropped."""
    variants: Sequence[str] = (quote, quote.rstrip(".,;:!?…。，！？ "))
    for variant in variants:
        if span := searchable.find(variant):
            return Evidence(quote=searchable.text[slice(*span)], start=span[0])
    return Evidence(quote=quote)
