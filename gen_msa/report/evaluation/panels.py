"""Small plots side by side: a figure of each class, and of each slice of the rows.

All plots of one figure share an axis, so that an eye can move from one to the next. Each has a
table with the same numbers. Drawn from a `Result`; knows nothing of how slices were cut.

    for panel in slices(result):
        print(panel.title, panel.plot, panel.grid)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from gen_msa.report.evaluation.columns import define, families, figure
from gen_msa.report.evaluation.grids import Grid, table, tick
from gen_msa.report.evaluation.plots import Dot, Dots, dots
from gen_msa.report.evaluation.scales import Axis, axis
from gen_msa.report.evaluation.words import bracketed, defined, symbol
from gen_msa.results import Definition, Level, Result, Value
from gen_msa.types import Polarity

Rows = Mapping[str, Sequence[Value | None]]
"""Label -> each reader's value."""


@dataclass(frozen=True)
class Panel:
    """One plot with its table."""

    title: str
    figure: str
    unit: str
    plot: Markup
    grid: Grid | None
    """None when the numbers stand in a family's own table already."""


def classes(result: Result) -> list[Panel]:
    """One panel for each figure that is given by class (`f1_negative`, `f1_neutral`, …)."""
    found: dict[tuple[str, str], dict[str, Definition]] = {}
    for family, members in families(result).items():
        for d in members:
            words = d.name.split("_")
            polarity = next((p.value for p in Polarity if p.value in words), None)
            if polarity:
                rest = " ".join(w for w in words if w != polarity)
                found.setdefault((family, rest), {})[polarity] = d
    out = []
    for (family, name), by_class in found.items():
        rows = {c: [figure(r, d) for r in result.readers] for c, d in by_class.items()}
        d = next(iter(by_class.values()))
        plot = _plot(result, rows, d, _axis(rows.values()), f"{name} by class")
        out.append(Panel(f"{family}: {name}", name, symbol(d.unit), plot, None))
    return out


def slices(result: Result) -> list[Panel]:
    """One panel a slice: the first figure drawn, all of them in its table."""
    levels = [r.levels for r in result.readers]
    names = dict.fromkeys(lv.slice for of in levels for lv in of)
    figures = list(dict.fromkeys(name for of in levels for lv in of for name in lv.figures))
    if not figures:
        return []
    columns = [define(result, f).model_copy(update={"name": f}) for f in figures]
    first = columns[0]
    drawn = {name: _level_rows(levels, name, first.name) for name in names}
    scale = _axis(row for rows in drawn.values() for row in rows.values())
    return [
        Panel(
            title=name,
            figure=first.name.replace("_", " "),
            unit=symbol(first.unit),
            plot=_plot(result, rows, first, scale, f"{first.name} by {name}"),
            grid=table(columns, _lines(result, name)),
        )
        for name, rows in drawn.items()
    ]


def _level_rows(levels: Sequence[Sequence[Level]], name: str, figure: str) -> Rows:
    """Level -> each reader's value of one figure."""
    by_level = [{lv.level: lv for lv in of if lv.slice == name} for of in levels]
    order = dict.fromkeys(level for of in by_level for level in of)
    return {
        level: [of[level].figures.get(figure) if level in of else None for of in by_level]
        for level in order
    }


def _lines(result: Result, name: str) -> list[tuple[str, int, Mapping[str, Value]]]:
    """Rows of a slice's table, the readers of one level together."""
    order = dict.fromkeys(lv.level for r in result.readers for lv in r.levels if lv.slice == name)
    return [
        (f"{level} · {r.name}", at, lv.figures)
        for level in order
        for at, r in enumerate(result.readers)
        for lv in r.levels
        if (lv.slice, lv.level) == (name, level)
    ]


def _axis(rows: Iterable[Sequence[Value | None]]) -> Axis:
    return axis([x for row in rows for v in row if v for x in (v.value, v.low, v.high)])


def _plot(result: Result, rows: Rows, d: Definition, scale: Axis, about: str) -> Markup:
    lines = []
    for label, values in rows.items():
        counts = [v.n for v in values if v]
        shown = tuple(
            Dot(at, v.value, v.low, v.high, f"{r.name}: {bracketed(v, d.unit)}, n {v.n:,}")
            for at, (r, v) in enumerate(zip(result.readers, values, strict=True))
            if v and v.value is not None and defined(v.value)
        )
        lines.append(Dots(label, f"n {max(counts):,}" if counts else "", shown))
    return dots(lines, scale, lambda x: tick(x, d.unit), about)
