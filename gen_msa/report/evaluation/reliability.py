"""The reliability diagram: how often a reader is right where it says that it is sure.

A dot below the diagonal is a bin in which the reader is surer than it is right. The bars beneath
count the answers of each bin; nothing in an empty bin is drawn. Takes `Bin`s, knows no reader.

    reliability(reader.calibration, "calibration of builtin", "r0")
"""

from collections.abc import Sequence

from markupsafe import Markup

from gen_msa.report.evaluation.plots import svg_path, svg_text
from gen_msa.results import CalibrationBin

DIAGRAM_SIDE, DIAGRAM_LEFT, DIAGRAM_TOP = 240, 34, 8
"""Of the square: its side, and where it begins."""
COUNT_BAR_HEIGHT = 44
"""Height of the tallest bar beneath."""
COUNT_BASELINE = DIAGRAM_TOP + DIAGRAM_SIDE + 34 + COUNT_BAR_HEIGHT
"""Where the bars stand."""


def reliability_diagram(bins: Sequence[CalibrationBin], label: str, tint: str) -> Markup:
    """Confidence across, accuracy up, and the number of answers of each bin beneath."""
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
        out += svg_path("grid", f"M{DIAGRAM_LEFT} {_diagram_y(t):.4g}H{DIAGRAM_LEFT + DIAGRAM_SIDE}")
        out += svg_text("tk", _diagram_x(t), DIAGRAM_TOP + DIAGRAM_SIDE + 14, f"{100 * t:.0f}")
        out += svg_text("lb", DIAGRAM_LEFT - 5, _diagram_y(t) + 4, f"{100 * t:.0f}")
    out += svg_path("ideal", f"M{DIAGRAM_LEFT} {DIAGRAM_TOP + DIAGRAM_SIDE}L{DIAGRAM_LEFT + DIAGRAM_SIDE} {DIAGRAM_TOP}")
    return out + svg_path("rule", f"M{DIAGRAM_LEFT} {COUNT_BASELINE}H{DIAGRAM_LEFT + DIAGRAM_SIDE}")


def _draw_bin(b: CalibrationBin, max_n: int, tint: str) -> Markup:
    left, right = _diagram_x(b.low) + 0.75, _diagram_x(b.high) - 0.75
    top = COUNT_BASELINE - COUNT_BAR_HEIGHT * b.n / max_n
    x, y = _diagram_x(b.confidence), _diagram_y(b.accuracy)
    tooltip = f"{b.n:,} answers, {100 * b.confidence:.1f} % sure, {100 * b.accuracy:.1f} % right"
    return Markup("<g><title>{}</title>{}{}{}{}</g>").format(
        tooltip,
        svg_path(f"{tint} soft", f"M{left:.4g} {COUNT_BASELINE}V{top:.4g}H{right:.4g}V{COUNT_BASELINE}z"),
        svg_text("ct", (left + right) / 2, top - 3, short_count(b.n)),
        svg_path(f"wh {tint} soft", f"M{x:.4g} {y:.4g}V{_diagram_y(b.confidence):.4g}"),
        svg_path(tint, f"M{x - 4:.4g} {y:.4g}a4 4 0 1 0 8 0a4 4 0 1 0-8 0z"),
    )


def short_count(n: int) -> str:
    """A count in at most four characters: `980`, `1.2k`, `31k`."""
    for size, sign in ((999_500_000, "G"), (999_500, "M"), (1000, "k")):
        if n >= size:
            x = n / {"G": 1e9, "M": 1e6, "k": 1e3}[sign]
            return f"{x:.1f}{sign}" if x < 9.95 else f"{x:.0f}{sign}"
    return str(n)
