"""Small inline SVG drawings: interval bars, and dots with intervals.

Lines and shapes carry classes, and the style sheet gives them colour in light and dark; a reader is
told by shape as well as by colour. Every number drawn also stands in a table beside it. Knows
nothing of results: it takes numbers and words, and escapes the words.

    bar(0.82, 0.80, 0.84, axis([0.7, 0.9]))
    dots([Dots("negative", "n 410", (Dot(0, 0.82, 0.8, 0.84, "builtin: 82"),))], scale, str, "F1")
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from gen_msa.report.evaluation.scales import Axis

SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-3.6-3.6h7.2v7.2h-7.2z",
    "M0-4.6L4.4 3.4h-8.8z",
    "M0-5L5 0 0 5-5 0z",
    "M0 4.6L4.4-3.4h-8.8z",
    "M-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
)
"""One outline a reader, about 9 units wide around 0: disc, square, triangle, diamond, …"""

BAR_WIDTH = 112
"""Width of an interval bar."""

PLOT_WIDTH, PLOT_LEFT, DOT_STEP, LABEL_GAP = 360, 118, 13, 12
"""Of a dot plot: its width, room for labels, height of a dot's line, and room between labels."""

FormatTick = Callable[[float], str]
"""Writes a number of an axis."""


@dataclass(frozen=True)
class PlotDot:
    """One reader's figure in a dot plot."""

    system: int
    """Its place among the readers: decides shape and colour."""
    value: float
    low: float | None
    high: float | None
    tooltip: str
    """What a pointer that rests on it reads."""


@dataclass(frozen=True)
class DotLine:
    """One line of a dot plot."""

    label: str
    note: str
    dots: tuple[PlotDot, ...]

    @property
    def height(self) -> int:
        """With the room below it."""
        return DOT_STEP * max(1, len(self.dots)) + LABEL_GAP


def svg_path(kind: str, d: str) -> Markup:
    """One outline of a class."""
    return Markup('<path class="{}" d="{}"/>').format(kind, d)


def svg_text(kind: str, x: float, y: float, text: str) -> Markup:
    """A text of a class at a place."""
    return Markup('<text class="{}" x="{:.4g}" y="{:.4g}">{}</text>').format(kind, x, y, text)


def system_marker(system: int) -> Markup:
    """The shape of a reader, in its colour, to stand beside its name."""
    marker = marker_shape(system, 0, 0)
    return Markup('<svg class="mk" viewBox="-6 -6 12 12" aria-hidden="true">{}</svg>').format(marker)


def color_class(system: int) -> str:
    """The class that gives a reader its colour."""
    return f"r{system % len(SHAPES)}"


def marker_shape(system: int, x: float, y: float) -> Markup:
    """The shape of a reader, in its colour, at a place."""
    # A seventh reader has the first one's colour and the second one's shape.
    outline = SHAPES[(system + system // len(SHAPES)) % len(SHAPES)]
    return Markup('<path class="{}" d="{}" transform="translate({:.4g} {:.4g})"/>').format(
        color_class(system), outline, x, y
    )


def interval_bar(
    value: float, low: float | None, high: float | None, scale: Axis, kind: str = "point"
) -> Markup:
    """A figure and its interval on an axis that the whole column shares.

    `kind`: `point` (measured), `hollow` (printed by a paper), `apart` (a difference, with the line
    at zero). Hidden from a screen reader: the words stand beside it.
    """

    def x(v: float) -> float:
        return 6 + (BAR_WIDTH - 12) * scale.position(v)

    parts = svg_path("rail", f"M6 6H{BAR_WIDTH - 6}")
    if kind == "apart":
        parts += svg_path("zero", f"M{x(0):.4g} 0V12")
    if low is not None and high is not None:
        parts += svg_path("reach", f"M{x(low):.4g} 6H{x(high):.4g}")
    center = x(value)
    parts += svg_path(kind, f"M{center - 4:.4g} 6a4 4 0 1 0 8 0a4 4 0 1 0-8 0z")
    return Markup('<svg class="ib" viewBox="0 0 {} 12" aria-hidden="true">{}</svg>').format(
        BAR_WIDTH, parts
    )


def dot_plot(lines: Sequence[DotLine], scale: Axis, format_tick: FormatTick, label: str) -> Markup:
    """One line a class or level, one shape a reader, whiskers for intervals."""

    def x(v: float) -> float:
        return PLOT_LEFT + (PLOT_WIDTH - PLOT_LEFT - 20) * scale.position(v)

    top, parts = 4.0, Markup("")
    for line in lines:
        baseline = top + (line.height - LABEL_GAP) / 2 + 6
        parts += svg_text("lb", PLOT_LEFT - 14, baseline + (-1 if line.note else 4), shorten_label(line.label))
        parts += svg_text("nt", PLOT_LEFT - 14, baseline + 11, line.note)
        for i, d in enumerate(line.dots):
            parts += _dot(d, x, top + 6 + DOT_STEP * (i + 0.5))
        top += line.height
        parts += svg_path("rule", f"M0 {top:.4g}H{PLOT_WIDTH}")
    grid = _grid_lines(scale, format_tick, x, top)
    return Markup(
        '<svg class="plot" viewBox="0 0 {} {:.4g}" role="img" aria-label="{}">{}{}</svg>'
    ).format(PLOT_WIDTH, top + 20, label, grid, parts)


def _dot(d: PlotDot, x: Callable[[float], float], y: float) -> Markup:
    whisker = Markup("")
    if d.low is not None and d.high is not None:
        whisker = svg_path(f"wh {color_class(d.system)}", f"M{x(d.low):.4g} {y:.4g}H{x(d.high):.4g}")
    marker = marker_shape(d.system, x(d.value), y)
    return Markup("<g><title>{}</title>{}{}</g>").format(d.tooltip, whisker, marker)


def shorten_label(label: str, max_chars: int = 16) -> str:
    """A label that fits beside its line; the table has it whole."""
    return label if len(label) <= max_chars else label[: max_chars - 1] + "…"


def _grid_lines(scale: Axis, format_tick: FormatTick, x: Callable[[float], float], bottom: float) -> Markup:
    """Upright lines at the round numbers, with the numbers below."""
    out = Markup("")
    for t in scale.ticks:
        out += svg_path("grid", f"M{x(t):.4g} 0V{bottom:.4g}") + svg_text("tk", x(t), bottom + 15, format_tick(t))
    return out
