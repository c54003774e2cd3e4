"""The interface of metric families, and their registry.

metrics["labels"]().specs[0].name      # 'accuracy'
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Literal, Protocol

from gen_msa.registry import Registry

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from gen_msa.metrics._pairs import Pair

    Array = NDArray[numpy.float64]


@dataclass(frozen=True)
class MetricSpec:
    """The definition of one metric of a family."""

    name: str
    about: str
    """The definition in one line, exact enough to recompute the metric by hand."""
    unit: Literal["share", "score", "points", "nats", "words", "count"] = "share"
    """`share`: 0..1, shown as a percentage; `score`: shown as it is."""
    better: Literal["high", "low", ""] = "high"
    """Whether high or low values are better; empty if neither is."""
    range: tuple[float, float] | None = None
    """The smallest and the largest possible value, of a `score`; None: unbounded."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest possible value, by the unit or `range`."""
        upper = {"share": 1.0, "points": 100.0}.get(self.unit, inf)
        return self.range or (-inf if self.unit == "score" else 0.0, upper)


class UndefinedMetric(ValueError):
    """A family cannot be computed for these rows; reports show the message instead of a value."""


class Metric(Protocol):
    """A family of metrics whose row statistics add up over rows."""

    specs: tuple[MetricSpec, ...]
    """In the order of reports; the first is the family's main metric."""
    signature: str
    """Everything that determines the values besides the rows: versions, tokenizer, thresholds."""

    def row_statistics(self, pairs: "Sequence[Pair]") -> "Array":
        """Compute what each pair contributes.

        Returns:
            float64 `(len(pairs), k)`. Column 0 is 1 for a row that counts, and 0 for one that does
            not,
            whose other columns are 0 as well.

        Raises:
            UndefinedMetric: No row can be scored; the message says why.
        """
        ...

    def compute(self, sums: "Array") -> "dict[str, Array]":
        """Compute every metric from summed row statistics.

        Args:
            sums: Sums over rows, `(..., k)`.

        Returns:
            Each metric by name, `(...,)`; NaN where it is undefined.
        """
        ...


class CorpusMetric(Protocol):
    """A family whose metrics are not sums over rows, such as distinct-n; it has no interval."""

    specs: tuple[MetricSpec, ...]
    signature: str

    def measure(self, pairs: "Sequence[Pair]") -> "dict[str, float]":
        """Compute every metric; NaN where one is undefined.

        Raises:
            UndefinedMetric: No row can be scored.
        """
        ...


class MetricFactory(Protocol):
    """The registered class of a family, constructed with the options of a suite."""

    def __call__(self, **options: Any) -> "Metric | CorpusMetric":
        """Construct the family.

        Raises:
            UserError: An option or its value is unknown.
        """
        ...


def reads_explanations(family: "Metric | CorpusMetric") -> bool:
    """Return whether a family needs explanations: unless its `reads_explanations` is False."""
    return bool(getattr(family, "reads_explanations", True))


metrics: Registry[MetricFactory] = Registry("metric", "gen_msa.metrics", "gen_msa.metrics")
