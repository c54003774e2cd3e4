"""Small inline SVG drawings: interval bars, dot plots and reliability diagrams.

Lines and shapes have classes, and the style sheet colours them in light and dark; a system is
recognized by shape as well as by colour. Every number drawn is also in a table beside it. Text is
escaped.

    scale = linear_axis([0.7, 0.9])
    interval_bar(0.82, 0.80, 0.84, scale)
    dots = (PlotDot(0, 0.82, 0.8, 0.84, "builtin: 82"),)
    dot_plot([DotLine("negative", "n 410", dots)], scale, str, "F1")
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from markupsafe import Markup

from gen_msa.results import CalibrationBin


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, with ticks at round numbers; `low < high`."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def position(self, x: float) -> float:
        """Return where `x` lies: 0 at the low end, 1 at the high end; clipped."""
        return min(1.0, max(0.0, (x - self.low) / (self.high - self.low)))


def linear_axis(values: Iterable[float | None], *, n_ticks: int = 4, zero: bool = False) -> Axis:
    """Return the axis that holds all finite values.

    Without any value it is 0 to 1. The ends of a share never pass 0 or 1 because those are round.

    Args:
        values: The values; None and infinite ones are ignored.
        n_ticks: Approximate number of steps.
        zero: Include 0.
    """
    finite = [v for v in values if v is not None and isfinite(v)]
    finite += [0.0] if zero else [] if finite else [0.0, 1.0]
    low, high = min(finite), max(finite)
    if not isfinite(high - low):
        return Axis(low / 2, high / 2, (0.0,))
    if high - low < 1e-6 * max(abs(high), abs(low), 1e-3):
        margin = max(abs(low) / 10, 0.05)
        low, high = low - margin, high + margin
    raw = (high - low) / n_ticks
    unit = 10.0 ** floor(log10(raw))
    step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= raw * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    ticks = tuple(round(i * step, 12) for i in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def log_axis(values: Iterable[float], *, n_ticks: int = 7) -> Axis:
    """Return the logarithmic axis that holds all values, in units of log10.

    Ticks are at 1, 2 and 5 times a power of ten, or at powers only where those are too many.

    Args:
        values: Values above 0.
        n_ticks: Maximum number of ticks.
    """
    logs = [log10(v) for v in values if isfinite(v) and v > 0] or [0.0]
    margin = max(0.08, 0.05 * (max(logs) - min(logs)))
    low, high = min(logs) - margin, max(logs) + margin
    decades = range(floor(low), ceil(high) + 1)
    fine = [d + log10(m) for d in decades for m in (1, 2, 5)]
    for ticks in (fine, [float(d) for d in decades], [float(d) for d in decades if d % 3 == 0]):
        inside = tuple(t for t in ticks if low <= t <= high)
        if len(inside) <= n_ticks:
            break
    return Axis(low, high, inside)


SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-3.6-3.6h7.2v7.2h-7.2z",
    "M0-4.6L4.4 3.4h-8.8z",
    "M0-5L5 0 0 5-5 0z",
    "M0 4.6L4.4-3.4h-8.8z",
    "M-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
)
"""One outline per system, about 9 units wide around 0: disc, square, triangle, diamond, …"""

BAR_WIDTH = 112
"""Width of an interval bar."""

PLOT_WIDTH, PLOT_LEFT, DOT_STEP, LABEL_GAP = 360, 118, 13, 12
"""Of a dot plot: its width, space for labels, height per dot, and gap between labels."""

FormatTick = Callable[[float], str]
"""Formats a number of an axis."""


@dataclass(frozen=True)
class PlotDot:
    """One system's value in a dot plot."""

    system: int
    """Its index among the systems: decides shape and colour."""
    value: float
    low: float | None
    high: float | None
    tooltip: str
    """Text for the pointer."""


@dataclass(frozen=True)
class DotLine:
    """One line of a dot plot."""

    label: str
    note: str
    dots: tuple[PlotDot, ...]

    @property
    def height(self) -> int:
        """Height including the gap below."""
        return DOT_STEP * max(1, len(self.dots)) + LABEL_GAP


def svg_path(kind: str, d: str) -> Markup:
    """Draw a path.

    Args:
        kind: Its class.
        d: Its path data.

    Returns:
        The SVG element.
    """
    return Markup('<path class="{}" d="{}"/>').format(kind, d)


def svg_text(kind: str, x: float, y: float, text: str) -> Markup:
    """Draw a text with a class.

    Args:
        kind: The class.
        x: Horizontal position.
        y: Baseline.
        text: The text, which is escaped.

    Returns:
        The SVG element.
    """
    return Markup('<text class="{}" x="{:.4g}" y="{:.4g}">{}</text>').format(kind, x, y, text)


def system_marker(system: int) -> Markup:
    """Draw the shape of a system in its colour, to stand beside its name."""
    marker = marker_shape(system, 0, 0)
    return Markup('<svg class="mk" viewBox="-6 -6 12 12" aria-hidden="true">{}</svg>').format(
        marker
    )


def color_class(system: int) -> str:
    """Return the class that gives a system its colour."""
    return f"r{system % len(SHAPES)}"


def marker_shape(system: int, x: float, y: float) -> Markup:
    """Draw the shape of a system in its colour.

    Args:
        system: Index of the system.
        x: Horizontal position of its centre.
        y: Vertical position of its centre.

    Returns:
        The SVG element.
    """
    # A seventh system has the colour of the first and the shape of the second.
    outline = SHAPES[(system + system // len(SHAPES)) % len(SHAPES)]
    return Markup('<path class="{}" d="{}" transform="translate({:.4g} {:.4g})"/>').format(
        color_class(system), outline, x, y
    )


def interval_bar(
    value: float, low: float | None, high: float | None, scale: Axis, kind: str = "point"
) -> Markup:
    """Draw a value and its interval on the axis of a column.

    It is hidden from assistive technology: the text is beside it.

    Args:
        value: The value.
        low: Lower end of the interval.
        high: Upper end of the interval.
        scale: The axis.
        kind: `point` (measured), `hollow` (published), `apart` (a difference, with a line at zero).

    Returns:
        The SVG element.
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
    """Draw one line per class or level, one shape per system, and whiskers for intervals.

    Args:
        lines: The lines.
        scale: The axis.
        format_tick: Formats the numbers of the axis.
        label: Accessible description.

    Returns:
        The SVG element.
    """

    def x(v: float) -> float:
        return PLOT_LEFT + (PLOT_WIDTH - PLOT_LEFT - 20) * scale.position(v)

    top, parts = 4.0, Markup("")
    for line in lines:
        baseline = top + (line.height - LABEL_GAP) / 2 + 6
        parts += svg_text(
            "lb", PLOT_LEFT - 14, baseline + (-1 if line.note else 4), shorten_label(line.label)
        )
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
        whisker = svg_path(
            f"wh {color_class(d.system)}", f"M{x(d.low):.4g} {y:.4g}H{x(d.high):.4g}"
        )
    marker = marker_shape(d.system, x(d.value), y)
    return Markup("<g><title>{}</title>{}{}</g>").format(d.tooltip, whisker, marker)


def shorten_label(label: str, max_chars: int = 16) -> str:
    """Shorten a label to fit beside its line; the table has the full label.

    Args:
        label: The label.
        max_chars: Maximum number of characters.

    Returns:
        At most `max_chars` characters.
    """
    return label if len(label) <= max_chars else label[: max_chars - 1] + "…"


def _grid_lines(
    scale: Axis, format_tick: FormatTick, x: Callable[[float], float], bottom: float
) -> Markup:
    """Draw vertical lines at the ticks, with numbers below."""
    out = Markup("")
    for t in scale.ticks:
        out += svg_path("grid", f"M{x(t):.4g} 0V{bottom:.4g}") + svg_text(
            "tk", x(t), bottom + 15, format_tick(t)
        )
    return out


DIAGRAM_SIDE, DIAGRAM_LEFT, DIAGRAM_TOP = 240, 34, 8
"""Side of the square, and its left and top edge."""
COUNT_BAR_HEIGHT = 44
"""Height of the tallest count bar below the square."""
COUNT_BASELINE = DIAGRAM_TOP + DIAGRAM_SIDE + 34 + COUNT_BAR_HEIGHT
"""Baseline of the count bars."""


def reliability_diagram(bins: Sequence[CalibrationBin], label: str, tint: str) -> Markup:
    """Draw confidence across, accuracy up, and the number of answers of each bin below.

    Args:
        bins: The calibration curve.
        label: Accessible description.
        tint: Class of the colour.

    Returns:
        The SVG element.
    """
    filled = [b for b in bins if b.n]
    max_n = max((b.n for b in filled), default=1)
    parts = _diagram_frame()
    line = "L".join(f"{_diagram_x(b.confidence):.4g} {_diagram_y(b.accuracy):.4g}" for b in filled)
    if len(filled) > 1:
        parts += svg_path(f"wh {tint}", f"M{line}")
    for b in filled:
        parts += _draw_bin(b, max_n, tint)
    return Markup(
        '<svg class="plot rel" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(DIAGRAM_LEFT + DIAGRAM_SIDE + 12, COUNT_BASELINE + 6, label, parts)


def _diagram_x(share: float) -> float:
    return DIAGRAM_LEFT + DIAGRAM_SIDE * share


def _diagram_y(share: float) -> float:
    return DIAGRAM_TOP + DIAGRAM_SIDE * (1 - share)


def _diagram_frame() -> Markup:
    out = Markup("")
    for t in (0, 0.25, 0.5, 0.75, 1):
        out += svg_path("grid", f"M{_diagram_x(t):.4g} {DIAGRAM_TOP}V{DIAGRAM_TOP + DIAGRAM_SIDE}")
        out += svg_path(
            "grid", f"M{DIAGRAM_LEFT} {_diagram_y(t):.4g}H{DIAGRAM_LEFT + DIAGRAM_SIDE}"
        )
        out += svg_text("tk", _diagram_x(t), DIAGRAM_TOP + DIAGRAM_SIDE + 14, f"{100 * t:.0f}")
        out += svg_text("lb", DIAGRAM_LEFT - 5, _diagram_y(t) + 4, f"{100 * t:.0f}")
    out += svg_path(
        "ideal",
        f"M{DIAGRAM_LEFT} {DIAGRAM_TOP + DIAGRAM_SIDE}L{DIAGRAM_LEFT + DIAGRAM_SIDE} {DIAGRAM_TOP}",
    )
    return out + svg_path("rule", f"M{DIAGRAM_LEFT} {COUNT_BASELINE}H{DIAGRAM_LEFT + DIAGRAM_SIDE}")


def _draw_bin(b: CalibrationBin, max_n: int, tint: str) -> Markup:
    left, right = _diagram_x(b.low) + 0.75, _diagram_x(b.high) - 0.75
    top = COUNT_BASELINE - COUNT_BAR_HEIGHT * b.n / max_n
    x, y = _diagram_x(b.confidence), _diagram_y(b.accuracy)
    tooltip = (
        f"{b.n:,} answers, confidence {100 * b.confidence:.1f} %, accuracy {100 * b.accuracy:.1f} %"
    )
    return Markup("<g><title>{}</title>{}{}{}{}</g>").format(
        tooltip,
        svg_path(
            f"{tint} soft", f"M{left:.4g} {COUNT_BASELINE}V{top:.4g}H{right:.4g}V{COUNT_BASELINE}z"
        ),
        svg_text("ct", (left + right) / 2, top - 3, short_count(b.n)),
        svg_path(f"wh {tint} soft", f"M{x:.4g} {y:.4g}V{_diagram_y(b.confidence):.4g}"),
        svg_path(tint, f"M{x - 4:.4g} {y:.4g}a4 4 0 1 0 8 0a4 4 0 1 0-8 0z"),
    )


def short_count(n: int) -> str:
    """Format a count in at most four characters: `980`, `1.2k`, `31k`."""
    for size, sign in ((999_500_000, "G"), (999_500, "M"), (1000, "k")):
        if n >= size:
            x = n / {"G": 1e9, "M": 1e6, "k": 1e3}[sign]
            return f"{x:.1f}{sign}" if x < 9.95 else f"{x:.0f}{sign}"
    return str(n)
