"""Rows of made-up readers, and the figures of sums of them."""

import numpy

from gen_msa.metrics._confusion import ANSWERS, CLASSES


def values(sums):
    """Columns n, right, and a third that only `ratio` needs, which is undefined without it."""
    with numpy.errstate(invalid="ignore", divide="ignore"):
        return {
            "accuracy": sums[..., 1] / sums[..., 0],
            "ratio": numpy.where(sums[..., 2] > 0, sums[..., 1] / sums[..., 2], numpy.nan),
        }


def accuracy(sums):
    return {"accuracy": sums[..., 1] / sums[..., 0]}


def rows(seed, n, p=0.7):
    """(n, 3) with a share `p` of right rows, drawn by chance."""
    rng = numpy.random.default_rng(seed)
    return numpy.column_stack([numpy.ones(n), rng.random(n) < p, rng.random(n) < 0.5]).astype(float)


def each(n):
    """A cluster for each row."""
    return [f"post {i}" for i in range(n)]


def confusion(seed, n, right=0.6):
    """Rows of the family `labels`, (n, 13), that are right with the given chance."""
    rng = numpy.random.default_rng(seed)
    gold = numpy.random.default_rng(0).integers(CLASSES, size=n)
    said = numpy.where(rng.random(n) < right, gold, rng.integers(ANSWERS, size=n))
    found = numpy.zeros((n, 1 + CLASSES * ANSWERS))
    found[:, 0] = 1
    found[numpy.arange(n), 1 + gold * ANSWERS + said] = 1
    return found
