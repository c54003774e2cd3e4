"""The words an explanation quotes, and where they stand in the post.

Knows nothing of labels. A quote that does not stand in the post is kept with `start=None`, never
dropped.

    evidence('The word "awful" says it.', [], "Battery awful", aspect="Battery")
"""

from collections.abc import Iterable, Sequence

from gen_msa.spans import MAX_QUOTES, Spans, fold, quotes
from gen_msa.types import Evidence


def evidence(
    explanation: str | None, listed: Iterable[str], text: str, aspect: str
) -> tuple[Evidence, ...]:
    """What the answer lists as evidence, then what its explanation quotes, each piece once.

    A quote of the aspect's own words only names what is judged, so it is no evidence.
    """
    named = fold(aspect)
    quoted = [q for q in quotes(explanation or "") if fold(q) != named]
    wanted = [q.strip() for q in listed][:MAX_QUOTES] + quoted
    if not any(wanted):
        return ()
    spans = Spans(text)
    return tuple(dict.fromkeys(_placed(q, spans) for q in wanted if q))


def _placed(quote: str, spans: Spans) -> Evidence:
    """With the post's own letters when it stands there; a stop the writer added is let go."""
    tries: Sequence[str] = (quote, quote.rstrip(".,;:!?…。，！？ "))
    for words in tries:
        if span := spans.find(words):
            return Evidence(quote=spans.text[slice(*span)], start=span[0])
    return Evidence(quote=quote)
