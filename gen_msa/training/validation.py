"""Metrics of a dev source as plain JSON, the same for every kind of model.

What is validated, and when, is decided by the training loops.

    label_metrics(score_labels(gold, predictions))["macro_f1"]
"""

from typing import Any

from gen_msa.metrics.labels import Scores


def label_metrics(scores: Scores) -> dict[str, Any]:
    """Return accuracy with its interval, F1 and confusion as plain JSON; shares in 0..1.

    A prediction without a label counts as wrong, and is called `unparsed` in the confusion.
    """
    return {
        "accuracy": scores.accuracy,
        "accuracy_95": list(scores.interval),
        "macro_f1": scores.macro_f1,
        "f1": {str(p): v for p, v in scores.f1.items()},
        "confusion": {
            str(g): {str(a or "unparsed"): n for a, n in row.items()}
            for g, row in scores.confusion.items()
        },
    }
