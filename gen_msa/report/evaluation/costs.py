"""What readers cost beside what they are worth: the rows of a table, and the points of a plot.

A reader is on the frontier when no other one is both as fast and as good, and better in one of the
two. The worth is the first figure of the evaluation of which more is better. Drawn from a `Result`;
knows nothing of HTML, and nothing of how cost was measured.

    [c.reader for c in costed(result) if c.frontier]
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gen_msa.report.evaluation.columns import figure, headlines
from gen_msa.report.evaluation.words import NONE, amount, bracketed, defined
from gen_msa.results import Costing, Definition, ReaderResult, Result, Value

COSTS = {
    "posts_per_second": "posts a second",
    "cpu_seconds": "CPU s for 1,000 posts",
    "megabytes": "MB on disk",
    "peak_megabytes": "MB of memory",
    "joules": "J for 1,000 posts",
}
"""Figure -> as it stands over its column."""
RATE = "posts_per_second"


@dataclass(frozen=True)
class Point:
    """A reader in the plot."""

    at: int
    """Its place among the readers."""
    name: str
    rate: float
    value: float
    low: float | None
    high: float | None
    size: str
    """Megabytes, as words; empty where they are not known."""
    said: str


@dataclass(frozen=True)
class Costed:
    """One reader's row."""

    reader: str
    at: int
    worth: str
    cells: tuple[tuple[str, str], ...]
    """(figure, its range or why there is none), in the order of `COSTS`."""
    frontier: bool
    how: str
    """Posts, laps and machine; empty where there are no figures."""
    note: str
    """Why there are none."""


def worth(result: Result) -> Definition | None:
    """The figure that is held against cost; None where no reader has one."""
    return next((d for d in headlines(result) if d.better == "high"), None)


def costed(result: Result) -> list[Costed]:
    """Every reader that was to be timed, in the order of the readers."""
    best = {p.at for p in frontier(points(result))}
    d = worth(result)
    return [
        Costed(
            reader=r.name,
            at=at,
            worth=bracketed(figure(r, d), d.unit) if d else NONE,
            cells=tuple(_cell(r.costing.figures.get(name)) for name in COSTS),
            frontier=at in best,
            how=_how(r.costing) if r.costing.figures else "",
            note=r.costing.note,
        )
        for at, r in enumerate(result.readers)
        if r.costing
    ]


def points(result: Result) -> list[Point]:
    """The readers that have both a worth and a speed."""
    d = worth(result)
    made = [_point(at, r, d) for at, r in enumerate(result.readers) if d]
    return [p for p in made if p]


def frontier(found: Sequence[Point]) -> list[Point]:
    """Those that no other one dominates, slowest first; equals do not dominate each other."""
    best = [
        p
        for p in found
        if not any(
            q.rate >= p.rate and q.value >= p.value and (q.rate, q.value) != (p.rate, p.value)
            for q in found
        )
    ]
    return sorted(best, key=lambda p: p.rate)


def remarks(rows: Sequence[Costed]) -> list[str]:
    """What stands under a table: how readers were timed, and which figures they lack, those alike
    together; and why some were not timed.
    """
    alike: dict[str, list[str]] = {}
    for row in rows:
        lacking = [
            f"{head}: {why}"
            for head, (figure, why) in zip(COSTS.values(), row.cells, strict=True)
            if figure == NONE and why
        ]
        for remark in filter(None, [row.how, *lacking]):
            alike.setdefault(remark, []).append(row.reader)
    said = [f"cost of {'; '.join(names)}: {remark}" for remark, names in alike.items()]
    return said + [f"cost of {row.reader}: {row.note}" for row in rows if row.note]


def _point(at: int, r: ReaderResult, d: Definition) -> Point | None:
    rate = r.costing.figures.get(RATE) if r.costing else None
    value = figure(r, d)
    if not (rate and rate.value and value and value.value is not None and defined(value.value)):
        return None
    size = r.costing.figures.get("megabytes") if r.costing else None
    told = f"{amount(size.value)} MB" if size and size.value is not None else ""
    said = f"{r.name}: {amount(rate.value)} posts a second, {bracketed(value, d.unit)}"
    said = f"{said}, {told}" if told else said
    return Point(at, r.name, rate.value, value.value, value.low, value.high, told, said)


def _cell(value: Value | None) -> tuple[str, str]:
    if value is None or value.value is None:
        return NONE, value.note if value else ""
    reach = f"{amount(value.low)} to {amount(value.high)}" if value.low is not None else ""
    return amount(value.value), reach


def _how(found: Costing) -> str:
    counted = f"{found.posts:,} posts a lap, {found.laps} laps"
    return f"{counted} on {found.machine}" if found.machine else counted
