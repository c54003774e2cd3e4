"""The plot of worth against speed: a point a reader, the frontier as a step line, the rest pale.

Speed is logarithmic. Every point has its interval upright, its name and its megabytes beside it,
placed so that no two labels cover each other. Takes points, escapes their words; the same numbers
stand in the table beneath.

    drawing(points(result), frontier(points(result)), "accuracy", "share")
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log10

from markupsafe import Markup

from gen_msa.report.evaluation.costs import Point
from gen_msa.report.evaluation.grids import tick
from gen_msa.report.evaluation.plots import path, shape, tint, words
from gen_msa.report.evaluation.scales import axis, powers
from gen_msa.report.evaluation.words import amount, symbol

WIDE, TALL = 360, 300
LEFT, RIGHT, TOP, BOTTOM = 36, 8, 20, 266
"""Of the field."""
LETTER, LINE = 6.2, 12
"""About the width of a letter of a label, and the height of its line."""
LONGEST = 18

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Spot:
    """A point on paper."""

    point: Point
    x: float
    y: float
    top: float
    """Where its interval ends."""
    bottom: float


@dataclass(frozen=True)
class Label:
    """Where a point's words stand."""

    x: float
    y: float
    """Of the first line's foot."""
    side: str
    """`start`, `middle` or `end`: what of the words is at x."""


def drawing(found: Sequence[Point], best: Sequence[Point], figure: str, unit: str) -> Markup:
    """The plot; `best` are the points of the frontier, slowest first."""
    across = powers(p.rate for p in found)
    up = axis([v for p in found for v in (p.value, p.low, p.high)])

    def x(rate: float) -> float:
        return LEFT + 6 + (WIDE - RIGHT - LEFT - 12) * across.at(log10(rate))

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * up.at(value)

    spots = [Spot(p, x(p.rate), y(p.value), y(_or(p.high, p)), y(_or(p.low, p))) for p in found]
    parts = Markup("")
    for t in up.ticks:
        parts += path("grid", f"M{LEFT} {y(t):.4g}H{WIDE - RIGHT}")
        parts += words("lb", LEFT - 5, y(t) + 4, tick(t, unit))
    for t in across.ticks:
        parts += path("grid", f"M{x(10**t):.4g} {TOP}V{BOTTOM}")
        parts += words("tk", x(10**t), BOTTOM + 15, amount(10**t))
    parts += words("tk", (LEFT + WIDE - RIGHT) / 2, TALL - 4, "posts a second")
    parts += words("ax", 2, 11, f"{figure}, {symbol(unit)}".rstrip(", "))
    parts += _step([(x(p.rate), y(p.value)) for p in best])
    for spot, label in zip(spots, labels(spots), strict=True):
        parts += _spot(spot, label, pale=spot.point not in best)
    return _framed(parts, f"{figure} against posts a second", found, best)


def _or(limit: float | None, p: Point) -> float:
    return p.value if limit is None else limit


def _framed(parts: Markup, title: str, found: Sequence[Point], best: Sequence[Point]) -> Markup:
    told = "; ".join(f"{p.said}{', on the frontier' if p in best else ''}" for p in found)
    return Markup(
        '<svg class="plot front" viewBox="0 0 {} {}" role="img" '
        'aria-labelledby="frontier-title frontier-desc"><title id="frontier-title">{}</title>'
        '<desc id="frontier-desc">{}</desc>{}</svg>'
    ).format(WIDE, TALL, title, told, parts)


def _step(corners: Sequence[tuple[float, float]]) -> Markup:
    """What worth can be had at which speed: level up to a reader's speed, then down."""
    if not corners:
        return Markup("")
    line = f"M{LEFT} {corners[0][1]:.4g}"
    for (x, _), after in zip(corners, [*(y for _, y in corners[1:]), BOTTOM], strict=True):
        line += f"H{x:.4g}V{after:.4g}"
    return path("step", line)


def _spot(spot: Spot, label: Label, *, pale: bool) -> Markup:
    p, tone = spot.point, tint(spot.point.at)
    parts = Markup("")
    if p.low is not None and p.high is not None:
        parts += path(f"wh {tone}", f"M{spot.x:.4g} {spot.top:.4g}V{spot.bottom:.4g}")
    parts += shape(p.at, spot.x, spot.y)
    middle = label.y - LINE / 2 + 2
    near = min(max(middle, spot.top), spot.bottom)
    if abs(middle - near) > 1.5 * LINE or abs(label.x - spot.x) > LINE:
        aside = label.x + {"start": -2, "middle": 0, "end": 2}[label.side]
        parts += path("lead", f"M{spot.x:.4g} {near:.4g}L{aside:.4g} {middle:.4g}")
    parts += words(f"pt {label.side}", label.x, label.y, short(p.name))
    parts += words(f"pt sz {label.side}", label.x, label.y + LINE, p.size)
    kind = "spot pale" if pale else "spot"
    return Markup('<g class="{}"><title>{}</title>{}</g>').format(kind, p.said, parts)


def short(name: str) -> str:
    """A name that fits: its beginning and, of paths what tells them apart, its end."""
    return name if len(name) <= LONGEST else f"{name[:5]}…{name[6 - LONGEST :]}"


def labels(spots: Sequence[Spot]) -> list[Label]:
    """A place for the words of each spot: the nearest one that covers nothing, else the nearest
    one that covers no other label.
    """
    marks, taken = [_around(s) for s in spots], list[Box]()
    found = []
    for spot in spots:
        places = [(p, box(spot, p)) for p in _places(spot)]
        quiet = [one for one in places if not _covers(one[1], taken)] or places[:1]
        clear = (one for one in quiet if not _covers(one[1], marks))
        label, room = next(clear, quiet[0])
        taken.append(room)
        found.append(label)
    return found


def box(spot: Spot, label: Label) -> Box:
    """The room that a label takes."""
    width = LETTER * max(len(short(spot.point.name)), len(spot.point.size))
    left = label.x - {"start": 0.0, "middle": width / 2, "end": width}[label.side]
    lines = 2 if spot.point.size else 1
    return left, label.y - LINE + 3, left + width, label.y + LINE * (lines - 1) + 3


def _around(spot: Spot) -> Box:
    return spot.x - 5, min(spot.top, spot.y - 5), spot.x + 5, max(spot.bottom, spot.y + 5)


def _places(spot: Spot) -> Iterator[Label]:
    """Beside the spot, then ever further up and down, then anywhere; in the field alone."""
    beside = [("start", spot.x + 8), ("end", spot.x - 8), ("middle", spot.x)]
    feet = [spot.y + 1 + 6 * n * sign for n in range(48) for sign in (1, -1)]
    anywhere = [("start", float(x)) for x in range(LEFT, WIDE, 12)]
    for sides in (beside, sorted(anywhere, key=lambda side: abs(side[1] - spot.x))):
        for label in (Label(x, foot, side) for foot in feet for side, x in sides):
            left, top, right, bottom = box(spot, label)
            if left >= LEFT and right <= WIDE and top >= TOP - 6 and bottom <= BOTTOM:
                yield label
    yield Label(WIDE - RIGHT, TOP + 8, "end")


def _covers(one: Box, others: Iterable[Box]) -> bool:
    return any(one[0] < o[2] and o[0] < one[2] and one[1] < o[3] and o[1] < one[3] for o in others)
