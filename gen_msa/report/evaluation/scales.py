"""Axes: the round numbers between which a set of figures lies.

Knows nothing of drawing.

    axis([0.712, 0.838]).ticks      # (0.7, 0.75, 0.8, 0.85)
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, with marks at round numbers; `low < high`."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def position(self, x: float) -> float:
        """Where `x` lies: 0 at the low end, 1 at the high one; never outside."""
        return min(1.0, max(0.0, (x - self.low) / (self.high - self.low)))


def linear_axis(values: Iterable[float | None], *, n_ticks: int = 4, zero: bool = False) -> Axis:
    """The axis that holds all finite `values` (and 0 if asked), with about `marks` steps.

    Without any value it is 0 to 1. Ends of a share never pass 0 or 1 because those are round.
    """
    finite = [v for v in values if v is not None and isfinite(v)]
    finite += [0.0] if zero else [] if finite else [0.0, 1.0]
    low, high = min(finite), max(finite)
    if not isfinite(high - low):
        return Axis(low / 2, high / 2, (0.0,))
    if high - low < 1e-6 * max(abs(high), abs(low), 1e-3):
        margin = max(abs(low) / 10, 0.05)
        low, high = low - margin, high + margin
    raw = (high - low) / n_ticks
    unit = 10.0 ** floor(log10(raw))
    step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= raw * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    ticks = tuple(round(i * step, 12) for i in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def log_axis(values: Iterable[float], *, n_ticks: int = 7) -> Axis:
    """The logarithmic axis that holds all `values`, which are above 0; it counts in log10.

    Marks stand at 1, 2 and 5 times a power of ten, or at powers alone where those are too many.
    """
    logs = [log10(v) for v in values if isfinite(v) and v > 0] or [0.0]
    margin = max(0.08, 0.05 * (max(logs) - min(logs)))
    low, high = min(logs) - margin, max(logs) + margin
    decades = range(floor(low), ceil(high) + 1)
    fine = [d + log10(m) for d in decades for m in (1, 2, 5)]
    for ticks in (fine, [float(d) for d in decades], [float(d) for d in decades if d % 3 == 0]):
        inside = tuple(t for t in ticks if low <= t <= high)
        if len(inside) <= n_ticks:
            break
    return Axis(low, high, inside)
