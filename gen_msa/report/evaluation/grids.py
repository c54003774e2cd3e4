"""Tables of figures: readers down, figures across, every cell with its interval in words and as a
bar on the column's own axis.

One shape serves the headline table, each family, each slice and each probe. Drawn from a `Result`;
knows nothing of HTML but the small drawings that stand in its cells.

    grid(result, headlines(result)).lines[0].cells[0].text      # "82.1"
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from gen_msa.report.evaluation.columns import best, figure, key, printed
from gen_msa.report.evaluation.plots import bar, mark
from gen_msa.report.evaluation.scales import Axis, axis
from gen_msa.report.evaluation.words import NONE, defined, number, seeds, span, symbol, unread
from gen_msa.results import Definition, Result, Value

NOTHING = Markup("")


@dataclass(frozen=True)
class Head:
    """The head of a column."""

    name: str
    unit: str
    family: str
    about: str
    low: str
    """The ends of its axis."""
    high: str
    better: str


@dataclass(frozen=True)
class Cell:
    """One figure."""

    text: str
    span: str = ""
    bar: Markup = NOTHING
    seeds: str = ""
    note: str = ""
    how: str = ""
    best: bool = False


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    name: str
    mark: Markup
    n: str
    unread: str
    cells: tuple[Cell, ...]
    source: str = ""
    """Of a printed row: its citation."""
    protocol: str = ""


@dataclass(frozen=True)
class Grid:
    """A table of figures."""

    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    starred: bool
    """Some figure is better than every other by its paired tests."""


def grid(result: Result, columns: Sequence[Definition]) -> Grid:
    """Every reader's figures of `columns`, with the papers that print any of them below."""
    axes = [_axis(result, d) for d in columns]
    firsts = {key(d): best(result, d) for d in columns}
    lines = []
    for at, r in enumerate(result.readers):
        cells = tuple(
            cell(figure(r, d), d, a, usual=r.rows, best=firsts[key(d)] == r.name)
            for d, a in zip(columns, axes, strict=True)
        )
        lines.append(Line(r.name, mark(at), f"{r.rows:,}", unread(r), cells))
    lines += _printed(result, columns, axes)
    return Grid(_heads(columns, axes), tuple(lines), any(firsts.values()))


def table(
    columns: Sequence[Definition], rows: Sequence[tuple[str, int, Mapping[str, Value]]]
) -> Grid:
    """A table of named values: (label, place of the reader, figures) a row."""
    axes = [axis(_reach(row[2].get(d.name) for row in rows)) for d in columns]
    lines = []
    for label, reader, values in rows:
        shown = [(d, values.get(d.name)) for d in columns]
        n = max((v.n for _, v in shown if v), default=0)
        cells = tuple(cell(v, d, a, usual=n) for (d, v), a in zip(shown, axes, strict=True))
        lines.append(Line(label, mark(reader), f"{n:,}", "", cells))
    return Grid(_heads(columns, axes), tuple(lines), starred=False)


def cell(
    value: Value | None, d: Definition, scale: Axis, *, usual: int, best: bool = False
) -> Cell:
    """One figure as it is printed; `usual` is the n that goes without saying."""
    if value is None:
        return Cell(NONE, note="not measured")
    if value.value is None or not defined(value.value):
        return Cell(NONE, note=value.note or "undefined, and no reason was given")
    counted = f"n {value.n:,}" if value.n != usual else ""
    note = "; ".join(part for part in (counted, value.note) if part)
    low, high = (value.low, value.high) if span(value.low, value.high, d.unit) else (None, None)
    return Cell(
        text=number(value.value, d.unit),
        span=span(low, high, d.unit),
        bar=bar(value.value, low, high, scale),
        seeds=seeds(value, d.unit),
        note=note,
        how=value.how,
        best=best,
    )


def _printed(result: Result, columns: Sequence[Definition], axes: Sequence[Axis]) -> list[Line]:
    lines = []
    for p in result.published:
        values = [printed(p, d) for d in columns]
        if all(v is None for v in values):
            continue
        cells = tuple(
            Cell(NONE)
            if v is None or not defined(v)
            else Cell(number(v, d.unit), bar=bar(v, None, None, a, "hollow"))
            for v, d, a in zip(values, columns, axes, strict=True)
        )
        lines.append(Line(p.name, Markup(""), "", "", cells, p.source, p.protocol))
    return lines


def _axis(result: Result, d: Definition) -> Axis:
    """One axis for a column: our figures with their intervals, and the papers' figures."""
    ours = _reach(figure(r, d) for r in result.readers)
    return axis([*ours, *(printed(p, d) for p in result.published)])


def _reach(values: Iterable[Value | None]) -> list[float | None]:
    return [x for v in values if v is not None for x in (v.value, v.low, v.high)]


def _heads(columns: Sequence[Definition], axes: Sequence[Axis]) -> tuple[Head, ...]:
    return tuple(
        Head(
            name=d.name.replace("_", " "),
            unit=symbol(d.unit),
            family=d.family,
            about=d.about,
            low=tick(a.low, d.unit),
            high=tick(a.high, d.unit),
            better=d.better,
        )
        for d, a in zip(columns, axes, strict=True)
    )


def tick(x: float, unit: str) -> str:
    """A number of an axis, without zeros that say nothing."""
    return f"{100 * x if unit == 'share' else x:,.6g}".replace("-", "−")
