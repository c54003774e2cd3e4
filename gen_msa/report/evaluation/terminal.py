"""An evaluation as a table for the terminal: readers down, headline figures across.

Figures a paper printed stand dim below ours. Foreign names can neither colour nor move the cursor.
Knows nothing of files.

    rich.print(table(result))
"""

from collections.abc import Iterator

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from gen_msa.report.evaluation.columns import best, figure, headlines, printed
from gen_msa.report.evaluation.costs import COSTS, costed, remarks
from gen_msa.report.evaluation.words import NONE, number, span, symbol, unread
from gen_msa.report.visible import printable
from gen_msa.results import Definition, Result, Value

ROOM = 19
"""Columns of the terminal that a figure with its interval takes."""


def table(result: Result) -> "FiguresTable":
    """A renderable of the headline figures with their intervals.

    Where the terminal is too narrow for all, figures are put in several tables one after another;
    none is left out.
    """
    return FiguresTable(result)


class FiguresTable:
    """Headline figures, drawn to the width of the console."""

    def __init__(self, result: Result) -> None:
        self._result = result

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Title, tables, and the notes that a reader of the figures must know."""
        result, columns = self._result, headlines(self._result)
        yield Text(printable(f"{result.title} ({result.data})"), style="bold")
        yield Text(_scope(result), style="dim")
        across = max(1, (options.max_width - 2 * ROOM) // ROOM)
        lines = box.SIMPLE_HEAD if console.is_terminal else None
        parts = [columns[i : i + across] for i in range(0, len(columns), across)] or [[]]
        yield Group(*(self._part(part, lines, first=part is parts[0]) for part in parts))
        yield from _costs(result, lines)
        for note in (*result.notes, *(f"{r.name}: {n}" for r in result.readers for n in r.notes)):
            yield Text("note: " + printable(note), style="dim")
        if result.published:
            said = "printed: copied from papers, not measured here; sources stand in the page"
            yield Text(said, style="dim")

    def _part(self, columns: list[Definition], lines: box.Box | None, *, first: bool) -> Table:
        out = Table(box=lines, pad_edge=False, header_style="dim", expand=False)
        out.add_column("reader", overflow="fold", max_width=2 * ROOM - 12)
        if first:
            out.add_column("unread", justify="right", overflow="fold")
        for d in columns:
            unit = f" ({symbol(d.unit)})" if symbol(d.unit) else ""
            name = Text(f"{printable(d.family)}\n{printable(d.name.replace('_', ' ') + unit)}")
            out.add_column(name, justify="right", overflow="fold")
        firsts = [best(self._result, d) for d in columns]
        for r in self._result.readers:
            cells = [
                _cell(figure(r, d), d, told=name == r.name)
                for d, name in zip(columns, firsts, strict=True)
            ]
            said = [Text(unread(r))] if first else []
            out.add_row(Text(printable(r.name)), *said, *cells)
        for p in self._result.published:
            values = [printed(p, d) for d in columns]
            if any(v is not None for v in values):
                shown = [number(v, d.unit) for v, d in zip(values, columns, strict=True)]
                name = Text(printable(f"{p.name}, printed"))
                out.add_row(name, *[NONE] * first, *shown, style="dim italic")
        return out


def _cell(value: Value | None, d: Definition, *, told: bool) -> Text:
    """The figure, and its interval dim behind it; bold where the paired tests call it best."""
    if value is None:
        return Text(NONE)
    out = Text(number(value.value, d.unit), style="bold" if told else "")
    if span(value.low, value.high, d.unit):
        ends = f" [{number(value.low, d.unit)}, {number(value.high, d.unit)}]"
        out.append(ends, style="dim not bold")
    return out


def _costs(result: Result, lines: box.Box | None) -> Iterator[Table | Text]:
    """What reading costs, with the range over laps; then where it was measured, and what failed."""
    rows = costed(result)
    if not rows:
        return
    out = Table(box=lines, pad_edge=False, header_style="dim", expand=False)
    out.add_column("cost", overflow="fold", max_width=2 * ROOM - 12)
    for name in (*COSTS.values(), "frontier"):
        out.add_column(Text(name), justify="right", overflow="fold")
    for c in (c for c in rows if any(said != NONE for said, _ in c.cells)):
        cells = [
            Text(said).append(f"\n{note}" if note and said != NONE else "", "dim")
            for said, note in c.cells
        ]
        out.add_row(Text(printable(c.reader)), *cells, Text("yes" if c.frontier else NONE))
    yield out
    for said in remarks(rows):
        yield Text(printable(said), style="dim")


def _scope(result: Result) -> str:
    said = (
        f"{result.rows:,} rows, {result.posts:,} posts, {result.clusters:,} clusters by "
        f"{result.clustered_by}; against {result.against}; 95 % intervals, "
        f"{result.replicates:,} replicates, seed {result.seed}; data {result.data_sha256[:12]}"
    )
    return printable(said)
