"""The words an explanation quotes, and where they stand in the post.

Knows nothing of labels. A quote that does not stand in the post is kept with `start=None`, never
dropped.

    evidence('The word "awful" says it.', [], "Battery awful", aspect="Battery")
"""

from collections.abc import Iterable, Sequence

from gen_msa.spans import MAX_QUOTES, SearchableText, fold, extract_quotes
from gen_msa.types import Evidence


def collect_evidence(
    explanation: str | None, listed_quotes: Iterable[str], text: str, aspect: str
) -> tuple[Evidence, ...]:
    """What the answer lists as evidence, then what its explanation quotes, each piece once.

    A quote of the aspect's own words only names what is judged, so it is no evidence.
    """
    folded_aspect = fold(aspect)
    quoted = [q for q in extract_quotes(explanation or "") if fold(q) != folded_aspect]
    candidates = [q.strip() for q in listed_quotes][:MAX_QUOTES] + quoted
    if not any(candidates):
        return ()
    spans = SearchableText(text)
    return tuple(dict.fromkeys(_locate_quote(q, spans) for q in candidates if q))


def _locate_quote(quote: str, spans: SearchableText) -> Evidence:
    """With the post's own letters when it stands there; a stop the writer added is let go."""
    variants: Sequence[str] = (quote, quote.rstrip(".,;:!?…。，！？ "))
    for variant in variants:
        if span := spans.find(variant):
            return Evidence(quote=spans.text[slice(*span)], start=span[0])
    return Evidence(quote=quote)
