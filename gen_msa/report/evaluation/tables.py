"""The other tables of the page: comparisons, confusion, probes and cost.

Drawn from a `Result`; knows nothing of HTML.

    compared(result)[0].verdict      # "builtin is better"
"""

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from gen_msa.report.evaluation.columns import define
from gen_msa.report.evaluation.grids import NOTHING, Grid, table
from gen_msa.report.evaluation.plots import bar
from gen_msa.report.evaluation.scales import axis
from gen_msa.report.evaluation.words import (
    amount,
    defined,
    number,
    probability,
    span,
    symbol,
    verdict,
)
from gen_msa.results import Comparison, Cost, Definition, ReaderResult, Result, Value
from gen_msa.types import Polarity

UNREAD = "unread"
"""The column of answers that could not be read."""


@dataclass(frozen=True)
class Against:
    """Two readers on one figure."""

    figure: str
    about: str
    unit: str
    a: str
    b: str
    difference: str
    span: str
    how: str
    bar: Markup
    test: str
    p: str
    p_adjusted: str
    adjustment: str
    verdict: str
    apart: bool


def compared(result: Result) -> list[Against]:
    """Every comparison in the order given; differences in one unit share an axis."""
    found = [(c, define(result, f"{c.family}.{c.figure}")) for c in result.comparisons]
    return [_against(c, d, [o for o, e in found if e.unit == d.unit]) for c, d in found]


def _against(c: Comparison, d: Definition, alike: list[Comparison]) -> Against:
    scale = axis([x for o in alike for x in (o.difference, o.low, o.high)], zero=True)
    said = verdict(c, d.better)
    low, high = (c.low, c.high) if defined(c.low) and defined(c.high) else (None, None)
    drawing = bar(c.difference, low, high, scale, "apart") if defined(c.difference) else NOTHING
    return Against(
        figure=f"{c.family} {c.figure}".replace("_", " "),
        about=d.about,
        unit="points" if d.unit == "share" else symbol(d.unit),
        a=c.a,
        b=c.b,
        difference=number(c.difference, d.unit, signed=True),
        span=span(c.low, c.high, d.unit, signed=True),
        how=c.how,
        bar=drawing,
        test=c.test,
        p=probability(c.p),
        p_adjusted=probability(c.p_adjusted),
        adjustment=c.adjustment,
        verdict=said,
        apart=said != "not told apart",
    )


@dataclass(frozen=True)
class Share:
    """One cell of a confusion matrix."""

    count: str
    percent: int
    """Of the row, 0..100: how dark it is."""
    right: bool


@dataclass(frozen=True)
class Confusion:
    """What each of gold's polarities was read as."""

    reader: str
    at: int
    heads: tuple[str, ...]
    lines: tuple[tuple[str, str, tuple[Share, ...]], ...]
    """(gold's polarity, its rows, the cells)"""


def confusions(result: Result) -> list[Confusion]:
    """One matrix for each reader that has one."""
    return [_confusion(r, at) for at, r in enumerate(result.readers) if r.confusion]


def _confusion(r: ReaderResult, at: int) -> Confusion:
    said = dict.fromkeys([*(p.value for p in Polarity), UNREAD])
    said |= dict.fromkeys(name for row in r.confusion.values() for name in row)
    lines = []
    for gold, row in r.confusion.items():
        total = sum(row.values())
        cells = tuple(
            Share(f"{row.get(s, 0):,}", round(100 * row.get(s, 0) / (total or 1)), s == gold)
            for s in said
        )
        lines.append((gold, f"{total:,}", cells))
    return Confusion(r.name, at, tuple(said), tuple(lines))


def probes(result: Result) -> dict[str, Grid]:
    """One table a probe: readers down, its figures across."""
    names = dict.fromkeys(name for by in result.probes.values() for name in by)
    places = {r.name: at for at, r in enumerate(result.readers)}
    out = {}
    for name in names:
        rows: list[tuple[str, int, Mapping[str, Value]]] = [
            (reader, places.get(reader, len(places)), by[name])
            for reader, by in result.probes.items()
            if name in by
        ]
        figures = dict.fromkeys(f for _, _, values in rows for f in values)
        hints = (name, f"probes.{name}", "probes", "probing")
        columns = [define(result, f, hints).model_copy(update={"name": f}) for f in figures]
        out[name] = table(columns, rows)
    return out


@dataclass(frozen=True)
class Took:
    """What reading took one reader in this run."""

    reader: str
    at: int
    cells: tuple[tuple[str, str], ...]
    """(figure, note)"""
    machine: str


TOOK = ("posts", "seconds", "posts a second", "CPU seconds a post")


def costs(result: Result) -> list[Took]:
    """Time and throughput of each reader that has them."""
    return [
        Took(r.name, at, _took(r.cost), r.cost.machine)
        for at, r in enumerate(result.readers)
        if r.cost
    ]


def _took(c: Cost) -> tuple[tuple[str, str], ...]:
    recorded = "answers were on record" if c.seconds is None else ""
    rate = c.posts / c.seconds if c.seconds else None
    each = c.cpu_seconds / c.posts if c.cpu_seconds is not None and c.posts else None
    return (
        (f"{c.posts:,}", ""),
        (amount(c.seconds), recorded),
        (amount(rate), ""),
        (amount(each), "" if each is not None else "not measured"),
    )
