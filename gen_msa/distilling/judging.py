"""How good the student is now: the dev rows are read as a reader reads them, and compared.

Knows nothing of training, and leaves the student as it was.

    judge(student, collate, devs)["score"]       # what the student that is kept is chosen by
"""

from collections.abc import Sequence
from typing import Any

from gen_msa.distilling.rows import DistillDataset
from gen_msa.metrics.labels import Scores, score_labels
from gen_msa.students import CLASSES, Model
from gen_msa.students.common.collating import Collator
from gen_msa.students.common.reading import predict_probabilities
from gen_msa.types import Polarity


def validate(student: Model, collator: Collator, dev_sets: Sequence[DistillDataset]) -> dict[str, Any]:
    """Figures of each dev source with n, interval and data hash, as plain JSON; shares in 0..1.

    `score` is the mean of the sources' macro-F1.
    """
    sources = [_source_metrics(d, _dev_scores(student, collator, d)) for d in dev_sets]
    return {"score": sum(s["macro_f1"] for s in sources) / len(sources), "sources": sources}


def _dev_scores(student: Model, collator: Collator, dev_set: DistillDataset) -> Scores:
    probs = predict_probabilities(student, collator, dev_set.rows)
    # NaN is no answer: every comparison with it is false.
    predicted: list[Polarity | None] = [
        CLASSES[row.index(max(row))] if sum(row) > 0 else None for row in probs
    ]
    return score_labels([r.target for r in dev_set.rows if r.target is not None], predicted)


def _source_metrics(dev_set: DistillDataset, scores: Scores) -> dict[str, Any]:
    return {
        "source": dev_set.source,
        "labels": dev_set.labels,
        "data_sha256": dev_set.sha256,
        "left_out": dict(dev_set.left_out),
        "n": scores.n,
        "accuracy": scores.accuracy,
        "accuracy_95": list(scores.interval),
        "macro_f1": scores.macro_f1,
        "f1": {str(p): v for p, v in scores.f1.items()},
        "confusion": {
            str(g): {str(a or "unread"): n for a, n in row.items()}
            for g, row in scores.confusion.items()
        },
    }
