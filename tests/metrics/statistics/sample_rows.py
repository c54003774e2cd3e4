"""Row statistics of invented systems, and metrics of their sums."""

import numpy

from gen_msa.metrics._confusion import N_ANSWERS, N_CLASSES


def accuracy_and_ratio(sums):
    """Compute metrics of columns n, correct, and one that only `ratio` needs."""
    with numpy.errstate(invalid="ignore", divide="ignore"):
        return {
            "accuracy": sums[..., 1] / sums[..., 0],
            "ratio": numpy.where(sums[..., 2] > 0, sums[..., 1] / sums[..., 2], numpy.nan),
        }


def accuracy(sums):
    with numpy.errstate(invalid="ignore", divide="ignore"):
        return {"accuracy": sums[..., 1] / sums[..., 0]}


def random_rows(seed, n, p=0.7):
    """Return random rows `(n, 3)` with a share `p` of correct ones."""
    rng = numpy.random.default_rng(seed)
    return numpy.column_stack([numpy.ones(n), rng.random(n) < p, rng.random(n) < 0.5]).astype(float)


def one_cluster_per_row(n):
    """Return a cluster for each row."""
    return [f"post {i}" for i in range(n)]


def random_confusion_rows(seed, n, p_correct=0.6):
    """Return random rows of the family `labels`, `(n, 13)`, with the given accuracy."""
    rng = numpy.random.default_rng(seed)
    gold = numpy.random.default_rng(0).integers(N_CLASSES, size=n)
    predicted = numpy.where(rng.random(n) < p_correct, gold, rng.integers(N_ANSWERS, size=n))
    counts = numpy.zeros((n, 1 + N_CLASSES * N_ANSWERS))
    counts[:, 0] = 1
    counts[numpy.arange(n), 1 + gold * N_ANSWERS + predicted] = 1
    return counts
