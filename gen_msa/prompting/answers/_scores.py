"""From the log-probabilities of a slot's options to probabilities of the polarities.

They are renormalised over the three label words: a closed set, not the model's whole vocabulary.
Knows nothing of the answer's words.

    probabilities({" negative": -0.1, " neutral": -3.0, " positive": -4.0}, prompt.labels, how={})
"""

import math
from collections.abc import Mapping

from gen_msa.types import Polarity


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
    score_by_label = {label_by_word.get(option.strip().casefold()): s for option, s in scores.items()}
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
