"""Every figure of an evaluation as a CSV, one row a figure, unrounded and in its own unit.

Shares lie in 0..1. Cells that a spreadsheet could take for a formula get an apostrophe, as in the
CSV of opinions. Knows nothing of how figures are shown elsewhere.

    write_figures(result, Path("figures.csv"))      # number of rows
"""

import csv
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

from gen_msa.jsonl import atomic_write
from gen_msa.report.evaluation.columns import find_definition, definitions_by_family, metric_value, default_definition
from gen_msa.report.evaluation.costs import COST_COLUMNS
from gen_msa.report.spreadsheet import CsvCell, escape_formula
from gen_msa.results import MetricDefinition, EvaluationResult, MetricValue

CSV_COLUMNS = (
    *("by", "kind", "family", "figure", "slice", "level", "value", "low", "high", "n"),
    *("unit", "how", "note", "seeds"),
)

CsvRow = tuple[CsvCell, ...]


def write_metrics_csv(result: EvaluationResult, path: Path) -> int:
    """Write one row a figure and return how many there are.

    `kind` is `measured`, `slice`, `probe`, `cost`, `compared` or `printed` (by a paper); low and
    high of a cost are the least and the most of its laps. An undefined figure has an empty value
    and its reason under `note`.
    """
    rows = 0
    with atomic_write(path) as f:
        text = TextIOWrapper(f, "utf-8-sig", errors="replace", newline="")
        out = csv.writer(text)
        out.writerow(CSV_COLUMNS)
        for row in _csv_rows(result):
            out.writerow([escape_formula(cell) for cell in row])
            rows += 1
        text.detach()
    return rows


def _csv_rows(result: EvaluationResult) -> Iterator[CsvRow]:
    definitions = {(d.family, d.name): d for members in definitions_by_family(result).values() for d in members}
    for r in result.systems:
        for d in definitions.values():
            value = metric_value(r, d)
            if value is not None:
                yield _csv_row(r.name, "measured", d, value)
        for lv in r.slices:
            for name, value in lv.metrics.items():
                yield _csv_row(r.name, "slice", find_definition(result, name), value, lv.slice, lv.level)
    for system, probe_values in result.probes.items():
        for probe, values in probe_values.items():
            for name, value in values.items():
                d = find_definition(result, name, (probe, "probes", "probing"))
                yield _csv_row(system, "probe", d, value, probe)
    yield from _csv_costs(result)
    yield from _csv_comparisons_and_published(result)


def _csv_costs(result: EvaluationResult) -> Iterator[CsvRow]:
    """A row a figure, or one with the reason why a reader has none."""
    for r in result.systems:
        if not r.cost_benchmark:
            continue
        if not r.cost_benchmark.metrics:
            empty = (None, None, None, None, "", "", r.cost_benchmark.note, "")
            yield (r.name, "cost", "cost", "", "", "", *empty)
        for name, v in r.cost_benchmark.metrics.items():
            method = "; ".join(part for part in (v.method, r.cost_benchmark.machine) if part)
            d = default_definition("cost", name).model_copy(update={"unit": COST_COLUMNS.get(name, "")})
            yield _csv_row(r.name, "cost", d, v.model_copy(update={"how": method}))


def _csv_row(system: str, kind: str, d: MetricDefinition, v: MetricValue, part: str = "", level: str = "") -> CsvRow:
    seed_values = " ".join(map(repr, v.seeds))
    values = (v.value, v.low, v.high, v.n, d.unit, v.method, v.note, seed_values)
    return (system, kind, d.family, d.name, part, level, *values)


def _csv_comparisons_and_published(result: EvaluationResult) -> Iterator[CsvRow]:
    for c in result.comparisons:
        d = find_definition(result, f"{c.family}.{c.metric}")
        method = f"{c.method}; {c.test}: p {c.p!r}, adjusted {c.p_adjusted!r} ({c.adjustment})"
        values = (c.difference, c.low, c.high, None, d.unit, method, "", "")
        yield (f"{c.a} minus {c.b}", "compared", c.family, c.metric, "", "", *values)
    for p in result.published:
        for name, x in p.metrics.items():
            d = find_definition(result, name)
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
