"""One reader's figures: every family over all its rows, with intervals, and per slice.

All readers are drawn over the same clusters, so that their figures move together from draw to draw.
What a family cannot say is a value without a number and with the reason. Knows nothing of files.

    board = Board(pairs, {"labels": metrics["labels"]()})
    board.figures(draws)["labels"]["macro_f1"].value
"""

from collections.abc import Mapping, Sequence
from math import isnan

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeIs

from gen_msa.evaluating import slicing
from gen_msa.metrics import Metric, Pair, Undefined, Whole
from gen_msa.metrics.statistics.bootstrap import Draws, Interval
from gen_msa.results import Definition, Level, Value

Array = NDArray[np.float64]
Families = Mapping[str, Metric | Whole]

NO_ROW = "undefined: no row decides it"
NO_INTERVAL = "no interval: not a sum over rows"
ONE_CLUSTER = "no interval: fewer than two clusters"


class Board:
    """A reader's rows, counted once by every family."""

    def __init__(self, pairs: Sequence[Pair], families: Families) -> None:
        self.pairs = tuple(pairs)
        self.clusters = [p.cluster for p in pairs]
        self.families = families
        self.rows: dict[str, Array] = {}
        """Family -> (rows, k); only those whose counts add up."""
        self.why: dict[str, str] = {}
        """Families that have nothing to say of these rows, and the reason."""
        self._whole: dict[str, dict[str, float]] = {}
        for name, family in families.items():
            try:
                if adds_up(family):
                    self.rows[name] = family.rows(self.pairs)
                else:
                    self._whole[name] = family.measure(self.pairs)
            except Undefined as e:
                self.why[name] = str(e)

    @property
    def alone(self) -> bool:
        """Whether no two of the rows that gold decides share a cluster."""
        decided = [p.cluster for p in self.pairs if p.truth is not None]
        return len(set(decided)) == len(decided)

    def right(self) -> list[bool]:
        """Of every row that gold decides, whether the reader has it right; in gold's order."""
        return [p.answer == p.truth for p in self.pairs if p.truth is not None]

    def metric(self, name: str) -> Metric:
        """The additive family `name`."""
        family = self.families[name]
        if not adds_up(family):
            raise TypeError(f"{name} is no sum over rows")
        return family

    def values(self, family: str, places: Sequence[int] | None = None) -> dict[str, float]:
        """Every figure of an additive family over all rows, or those at `places`."""
        rows = self.rows[family] if places is None else self.rows[family][list(places)]
        found = self.metric(family).values(rows.sum(axis=0))
        return {name: float(v) for name, v in found.items()}

    def marks(self, family: str) -> Array:
        """The headline figure of each row alone; NaN for a row it is not about."""
        rows = self.rows[family]
        metric = self.metric(family)
        found = np.asarray(metric.values(rows)[metric.figures[0].name], dtype=float)
        return np.where(rows[:, 0] > 0, found, np.nan)

    def figures(self, draws: Draws | None) -> dict[str, dict[str, Value]]:
        """Family -> figure -> value, in the order of the families."""
        return {name: self._family(name, draws) for name in self.families}

    def levels(self, name: str, headline: Sequence[str], draws: Draws | None) -> list[Level]:
        """The headline figures (`family.figure`) of each level of one slice."""
        families = dict.fromkeys(title.partition(".")[0] for title in headline)
        found = []
        for level, places in slicing.levels(name, self.pairs).items():
            known = {f: self._additive(f, draws, places) for f in families if f in self.rows}
            figures = {
                title: known[family][figure]
                for title in headline
                for family, _, figure in [title.partition(".")]
                if family in known
            }
            found.append(Level(slice=name, level=level, n=len(places), figures=figures))
        return found

    def _family(self, name: str, draws: Draws | None) -> dict[str, Value]:
        if name in self.why:
            empty = Value(value=None, n=0, note=self.why[name])
            return {f.name: empty for f in self.families[name].figures}
        if name in self.rows:
            return self._additive(name, draws, None)
        n = len(self.pairs)
        return {k: _value(v, n, note=NO_INTERVAL) for k, v in self._whole[name].items()}

    def _additive(
        self, name: str, draws: Draws | None, places: Sequence[int] | None
    ) -> dict[str, Value]:
        rows, clusters = self.rows[name], self.clusters
        if places is not None:
            rows, clusters = rows[list(places)], [clusters[i] for i in places]
        n = int(rows[:, 0].sum())
        found = self.values(name, places)
        if draws is None or not n:
            return {figure: _value(v, n, note=ONE_CLUSTER * bool(n)) for figure, v in found.items()}
        limits = draws.intervals(rows, clusters, self.metric(name).values)
        return {f: _value(v, n, limits[f], draws.how) for f, v in found.items()}


def adds_up(family: Metric | Whole) -> TypeIs[Metric]:
    """Whether a family's counts add up over rows."""
    return hasattr(family, "rows")


def definitions(families: Families) -> tuple[Definition, ...]:
    """What every figure means, for whoever prints it."""
    return tuple(
        Definition(
            family=name,
            name=f.name,
            about=f.about,
            unit=f.unit,
            better=f.better,
            signature=family.signature,
        )
        for name, family in families.items()
        for f in family.figures
    )


def _value(
    value: float, n: int, limits: Interval | None = None, how: str = "", note: str = ""
) -> Value:
    if isnan(value):
        return Value(value=None, n=n, note=NO_ROW)
    if limits is None or isnan(limits.low):
        return Value(value=value, n=n, note=note)
    return Value(value=value, n=n, low=limits.low, high=limits.high, how=how, note=note)
