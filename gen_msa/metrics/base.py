"""What a metric is, what its figures mean, and the registry of metrics.

Knows no metric. numpy is named in types only.

    metrics["labels"]().figures[0].name
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from gen_msa.registry import Registry

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from gen_msa.metrics._pairs import Pair

    Array = NDArray[numpy.float64]


@dataclass(frozen=True)
class MetricSpec:
    """What one number of a family means, for whoever prints it."""

    name: str
    about: str
    """One line: the definition, exact enough to recompute it by hand."""
    unit: Literal["share", "score", "points", "nats", "words", "count"] = "share"
    """`share`: 0..1, printed as percent. `score`: printed as it is."""
    better: Literal["high", "low", ""] = "high"
    """Which way is good; empty where neither is."""


class UndefinedMetric(ValueError):
    """A family has nothing to say of these rows; its message is printed in the figure's place."""


class Metric(Protocol):
    """A family of figures whose counts add up over rows."""

    specs: tuple[MetricSpec, ...]
    """In the order printed; the first is the family's headline."""
    signature: str
    """Everything that decides the numbers besides the rows (versions, tokeniser, cuts)."""

    def row_statistics(self, pairs: "Sequence[Pair]") -> "Array":
        """What each pair adds: float64, (len(pairs), k). Column 0 is 1 for a row the figures are
        about and 0 for one they are not, whose other columns are then 0 too.

        Raises `Undefined` when no row at all can be scored, with the reason.
        """
        ...

    def compute(self, sums: "Array") -> "dict[str, Array]":
        """Every figure from sums of rows, (..., k) -> each (...,); NaN where it is undefined."""
        ...


class CorpusMetric(Protocol):
    """A family whose figures are not sums over rows (distinct-n); it gets no interval."""

    specs: tuple[MetricSpec, ...]
    signature: str

    def measure(self, pairs: "Sequence[Pair]") -> "dict[str, float]":
        """Every figure; NaN where undefined. Raises `Undefined` when no row can be scored."""
        ...


class MetricFactory(Protocol):
    """What a module of this room registers: its family, made with options from a suite."""

    def __call__(self, **options: Any) -> "Metric | CorpusMetric":
        """Make the family. Raises `UserError` for an unknown option or value."""
        ...


metrics: Registry[MetricFactory] = Registry("metric", "gen_msa.metrics", "gen_msa.metrics")
