"""Every figure of an evaluation as a CSV, one row a figure, unrounded and in its own unit.

Shares lie in 0..1. Cells that a spreadsheet could take for a formula get an apostrophe, as in the
CSV of opinions. Knows nothing of how figures are shown elsewhere.

    write_figures(result, Path("figures.csv"))      # number of rows
"""

import csv
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

from gen_msa.jsonl import whole
from gen_msa.report.evaluation.columns import define, families, figure, plain
from gen_msa.report.evaluation.costs import COSTS
from gen_msa.report.spreadsheet import Cell, safe
from gen_msa.results import Definition, Result, Value

COLUMNS = (
    *("by", "kind", "family", "figure", "slice", "level", "value", "low", "high", "n"),
    *("unit", "how", "note", "seeds"),
)

Row = tuple[Cell, ...]


def write_figures(result: Result, path: Path) -> int:
    """Write one row a figure and return how many there are.

    `kind` is `measured`, `slice`, `probe`, `cost`, `compared` or `printed` (by a paper); low and
    high of a cost are the least and the most of its laps. An undefined figure has an empty value
    and its reason under `note`.
    """
    rows = 0
    with whole(path) as f:
        text = TextIOWrapper(f, "utf-8-sig", errors="replace", newline="")
        out = csv.writer(text)
        out.writerow(COLUMNS)
        for row in _rows(result):
            out.writerow([safe(cell) for cell in row])
            rows += 1
        text.detach()
    return rows


def _rows(result: Result) -> Iterator[Row]:
    known = {(d.family, d.name): d for of in families(result).values() for d in of}
    for r in result.readers:
        for d in known.values():
            value = figure(r, d)
            if value is not None:
                yield _row(r.name, "measured", d, value)
        for lv in r.levels:
            for name, value in lv.figures.items():
                yield _row(r.name, "slice", define(result, name), value, lv.slice, lv.level)
    for reader, by in result.probes.items():
        for probe, figures in by.items():
            for name, value in figures.items():
                d = define(result, name, (probe, "probes", "probing"))
                yield _row(reader, "probe", d, value, probe)
    yield from _costs(result)
    yield from _others(result)


def _costs(result: Result) -> Iterator[Row]:
    """A row a figure, or one with the reason why a reader has none."""
    for r in result.readers:
        if not r.costing:
            continue
        if not r.costing.figures:
            empty = (None, None, None, None, "", "", r.costing.note, "")
            yield (r.name, "cost", "cost", "", "", "", *empty)
        for name, v in r.costing.figures.items():
            how = "; ".join(part for part in (v.how, r.costing.machine) if part)
            d = plain("cost", name).model_copy(update={"unit": COSTS.get(name, "")})
            yield _row(r.name, "cost", d, v.model_copy(update={"how": how}))


def _row(by: str, kind: str, d: Definition, v: Value, part: str = "", level: str = "") -> Row:
    spread = " ".join(map(repr, v.seeds))
    figures = (v.value, v.low, v.high, v.n, d.unit, v.how, v.note, spread)
    return (by, kind, d.family, d.name, part, level, *figures)


def _others(result: Result) -> Iterator[Row]:
    for c in result.comparisons:
        d = define(result, f"{c.family}.{c.figure}")
        how = f"{c.how}; {c.test}: p {c.p!r}, adjusted {c.p_adjusted!r} ({c.adjustment})"
        figures = (c.difference, c.low, c.high, None, d.unit, how, "", "")
        yield (f"{c.a} minus {c.b}", "compared", c.family, c.figure, "", "", *figures)
    for p in result.published:
        for name, x in p.figures.items():
            d = define(result, name)
            family, _, short = name.partition(".")
            note = f"{p.source}; {p.protocol}"
            yield (
                p.name,
                "printed",
                family,
                short,
                "",
                "",
                x,
                None,
                None,
                None,
                d.unit,
                "",
                note,
                "",
            )
