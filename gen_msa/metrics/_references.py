"""What the families that hold an explanation against gold's have in common.

A row counts when gold gives an explanation; what the reader left empty is scored like any other
text, and scores 0. Equal pairs of texts are measured once. Knows no measure.

    rows(pairs, lambda texts: [lengths(said, gold) for said, gold in texts], width=2)
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen_msa.errors import MissingExtra
from gen_msa.metrics._cuts import nan_divide
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import UndefinedMetric

Array = NDArray[np.float64]
TextPair = tuple[str, str]
"""What the reader wrote (possibly nothing), and what gold did."""


def score_rows(
    pairs: Sequence[Pair], measure: Callable[[list[TextPair]], Iterable[Sequence[float]]], width: int
) -> Array:
    """Rows of 1 (scored) and the `width` numbers that `measure` gives each distinct pair of texts.

    Raises `Undefined` when gold explains nothing.
    """
    texts = [(p.explanation, p.reference_explanation) for p in pairs]
    distinct = list(dict.fromkeys(t for t in texts if t[1]))
    if not distinct:
        raise UndefinedMetric("no gold opinion has an explanation to compare with")
    scores = dict(zip(distinct, measure(distinct), strict=True))
    zeros = (0.0,) * (1 + width)
    return np.array([(1.0, *scores[t]) if t[1] else zeros for t in texts], dtype=np.float64)


def column_means(sums: Array, names: Sequence[str]) -> dict[str, Array]:
    """Mean over scored rows of each column after the first, by name."""
    return {name: nan_divide(sums[..., 1 + i], sums[..., 0]) for i, name in enumerate(names)}


def import_optional(module: str, package: str, extra: str) -> Any:
    """Import a module of an optional package. Raises `MissingExtra` when it is not installed."""
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise MissingExtra(package, extra)
    return importlib.import_module(module)
