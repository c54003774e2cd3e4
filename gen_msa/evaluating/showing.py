"""Chooses the rows a report shows: where readers part, and the best and worst explanations.

Chosen by the figures, never by hand; ties are broken by the order of the data. Knows nothing of
pages.

    disagreements({"builtin": pairs, "majority": pairs}, limit=100)
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gen_msa.metrics import Pair
from gen_msa.results import SelectedRow

EXAMPLES_PER_SYSTEM = 10
MAX_DISAGREEMENTS = 200
RANKING_FAMILIES = ("naming", "quoting", "grounding", "chrf")
"""Families whose headline speaks for an explanation, row by row."""

PerRowScores = Mapping[str, NDArray[np.float64]]
"""Family -> its headline figure of every row, NaN where the row is in no figure."""


def find_disagreements(pairs_by_system: Mapping[str, Sequence[Pair]], limit: int = MAX_DISAGREEMENTS) -> tuple[SelectedRow, ...]:
    """Gold's rows that readers give different polarities, most divided first.

    Every reader's pairs begin with gold's rows in the same order; what it said besides is left out.
    """
    if len(pairs_by_system) < 2:
        return ()
    rows = [[p for p in pairs if p.gold is not None] for pairs in pairs_by_system.values()]
    divided: list[tuple[int, SelectedRow]] = []
    for row_pairs in zip(*rows, strict=True):
        labels = [p.answer for p in row_pairs]
        if len(set(labels)) > 1:
            n_wrong = sum(a != row_pairs[0].truth for a in labels)
            reason = ", ".join(f"{n}: {a or 'unread'}" for n, a in zip(pairs_by_system, labels, strict=True))
            # Half right and half wrong says more than one reader alone in error.
            imbalance = abs(2 * n_wrong - len(labels))
            divided.append((imbalance, _shown_row(row_pairs[0], reason)))
    divided.sort(key=lambda item: item[0])
    return tuple(row for _, row in divided[:limit])


def rank_explanations(
    name: str, pairs: Sequence[Pair], per_row_scores: PerRowScores
) -> tuple[tuple[SelectedRow, ...], tuple[SelectedRow, ...]]:
    """One reader's best and worst explanations: right or wrong, then what the families say.

    Each is scored by the mean of its marks (0..1) plus 1 for the right polarity; among equals the
    more confident one is the better when right and the worse when wrong.
    """
    families = [f for f in RANKING_FAMILIES if f in per_row_scores]
    scored: list[tuple[float, float, SelectedRow]] = []
    for i, pair in enumerate(pairs):
        if not pair.explanation or pair.label is None:
            continue
        row_scores = {f: float(per_row_scores[f][i]) for f in families if not np.isnan(per_row_scores[f][i])}
        is_correct = pair.predicted_label == pair.label
        confidence = (pair.prediction.probability if pair.prediction else None) or 0.0
        mean_score = float(np.mean(list(row_scores.values()))) if row_scores else 0.0
        reasons = [f"{name}: {'right' if is_correct else f'wrong, gold is {pair.label}'}"]
        reasons += [f"{f} {v:.2f}" for f, v in row_scores.items()] + [f"probability {confidence:.2f}"]
        scored.append((is_correct + mean_score, confidence if is_correct else -confidence, _shown_row(pair, ", ".join(reasons))))
    scored.sort(key=lambda item: item[:2])
    worst = tuple(row for _, _, row in scored[:EXAMPLES_PER_SYSTEM])
    best = tuple(row for _, _, row in reversed(scored[-EXAMPLES_PER_SYSTEM:]))
    return best, worst if len(scored) >= 2 * EXAMPLES_PER_SYSTEM else worst[: len(scored) // 2]


def _shown_row(pair: Pair, reason: str) -> SelectedRow:
    opinion = pair.gold or pair.prediction
    assert opinion is not None  # noqa: S101  a pair has one of the two
    aspect = opinion.aspect
    return SelectedRow(post=pair.post.id, aspect=aspect.term, start=aspect.start, reason=reason)
