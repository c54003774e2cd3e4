"""The words an explanation quotes, and where they stand in the post.

Knows nothing of labels. A quote that does not stand in the post is kept with `start=None`, never
dropped.

    evidence('The word "awful" says it.', [], "Battery awful", aspect="Battery")
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from gen_msa.spans import MAX_QUOTES, SearchableText, extract_quotes, fold
from gen_msa.types import Evidence, Polarity

# From the log-probabilities of a slot's options to probabilities of the polarities.


def label_probabilities(
    scores: Mapping[str, float] | None, labels: Mapping[Polarity, str], provenance: dict[str, str]
) -> tuple[dict[Polarity, float] | None, Polarity | None]:
    """Probability of each polarity (they sum to 1) and the likeliest one.

    (None, None) without scores. Of equals the first in label order is taken. With a single option
    the label was given, not chosen, so it has no probability. Says in `how` what the figures are,
    or why there are none.
    """
    if not scores:
        return None, None
    label_by_word = {word.casefold(): p for p, word in labels.items()}
    score_by_label = {
        label_by_word.get(option.strip().casefold()): s for option, s in scores.items()
    }
    by_label = {p: score_by_label[p] for p in Polarity if p in score_by_label}
    if None in score_by_label or not any(math.isfinite(s) for s in by_label.values()):
        provenance["probability"] = "none: the scores name no label"
        return None, None
    if any(math.isnan(s) or s == math.inf for s in by_label.values()):
        provenance["probability"] = "none: a score is not a number"
        return None, None
    best = max(by_label, key=lambda p: by_label[p])
    if len(by_label) == 1:
        return None, best
    odds = {p: math.exp(s - by_label[best]) for p, s in by_label.items()}
    total = sum(odds.values())
    provenance["probability"] = "label words"
    return {p: odds.get(p, 0.0) / total for p in Polarity}, best


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
