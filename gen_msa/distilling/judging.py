"""How good the student is now: the dev rows are read as a reader reads them, and compared.

Knows nothing of training, and leaves the student as it was.

    judge(student, collate, devs)["score"]       # what the student that is kept is chosen by
"""

from collections.abc import Sequence
from typing import Any

from gen_msa.distilling.rows import Gathered
from gen_msa.metrics.labels import Scores, score
from gen_msa.students import CLASSES, Student
from gen_msa.students.common.collating import Words
from gen_msa.students.common.reading import probabilities
from gen_msa.types import Polarity


def judge(student: Student, collate: Words, devs: Sequence[Gathered]) -> dict[str, Any]:
    """Figures of each dev source with n, interval and data hash, as plain JSON; shares in 0..1.

    `score` is the mean of the sources' macro-F1.
    """
    sources = [_figures(d, _scores(student, collate, d)) for d in devs]
    return {"score": sum(s["macro_f1"] for s in sources) / len(sources), "sources": sources}


def _scores(student: Student, collate: Words, dev: Gathered) -> Scores:
    shares = probabilities(student, collate, dev.rows)
    # NaN is no answer: every comparison with it is false.
    said: list[Polarity | None] = [
        CLASSES[row.index(max(row))] if sum(row) > 0 else None for row in shares
    ]
    return score([r.target for r in dev.rows if r.target is not None], said)


def _figures(dev: Gathered, s: Scores) -> dict[str, Any]:
    return {
        "source": dev.source,
        "labels": dev.labels,
        "data_sha256": dev.sha256,
        "left_out": dict(dev.left_out),
        "n": s.n,
        "accuracy": s.accuracy,
        "accuracy_95": list(s.interval),
        "macro_f1": s.macro_f1,
        "f1": {str(p): v for p, v in s.f1.items()},
        "confusion": {
            str(g): {str(a or "unread"): n for a, n in row.items()}
            for g, row in s.confusion.items()
        },
    }
