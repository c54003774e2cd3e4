"""The reliability diagram: how often a reader is right where it says that it is sure.

A dot below the diagonal is a bin in which the reader is surer than it is right. The bars beneath
count the answers of each bin; nothing in an empty bin is drawn. Takes `Bin`s, knows no reader.

    reliability(reader.calibration, "calibration of builtin", "r0")
"""

from collections.abc import Sequence

from markupsafe import Markup

from gen_msa.report.evaluation.plots import path, words
from gen_msa.results import Bin

SIDE, LEFT, TOP = 240, 34, 8
"""Of the square: its side, and where it begins."""
BARS = 44
"""Height of the tallest bar beneath."""
BASE = TOP + SIDE + 34 + BARS
"""Where the bars stand."""


def reliability(bins: Sequence[Bin], about: str, tint: str) -> Markup:
    """Confidence across, accuracy up, and the number of answers of each bin beneath."""
    filled = [b for b in bins if b.n]
    most = max((b.n for b in filled), default=1)
    parts = _frame()
    line = "L".join(f"{_x(b.confidence):.4g} {_y(b.accuracy):.4g}" for b in filled)
    if len(filled) > 1:
        parts += path(f"wh {tint}", f"M{line}")
    for b in filled:
        parts += _bin(b, most, tint)
    return Markup(
        '<svg class="plot rel" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(LEFT + SIDE + 12, BASE + 6, about, parts)


def _x(share: float) -> float:
    return LEFT + SIDE * share


def _y(share: float) -> float:
    return TOP + SIDE * (1 - share)


def _frame() -> Markup:
    out = Markup("")
    for t in (0, 0.25, 0.5, 0.75, 1):
        out += path("grid", f"M{_x(t):.4g} {TOP}V{TOP + SIDE}")
        out += path("grid", f"M{LEFT} {_y(t):.4g}H{LEFT + SIDE}")
        out += words("tk", _x(t), TOP + SIDE + 14, f"{100 * t:.0f}")
        out += words("lb", LEFT - 5, _y(t) + 4, f"{100 * t:.0f}")
    out += path("ideal", f"M{LEFT} {TOP + SIDE}L{LEFT + SIDE} {TOP}")
    return out + path("rule", f"M{LEFT} {BASE}H{LEFT + SIDE}")


def _bin(b: Bin, most: int, tint: str) -> Markup:
    left, right = _x(b.low) + 0.75, _x(b.high) - 0.75
    top = BASE - BARS * b.n / most
    x, y = _x(b.confidence), _y(b.accuracy)
    said = f"{b.n:,} answers, {100 * b.confidence:.1f} % sure, {100 * b.accuracy:.1f} % right"
    return Markup("<g><title>{}</title>{}{}{}{}</g>").format(
        said,
        path(f"{tint} soft", f"M{left:.4g} {BASE}V{top:.4g}H{right:.4g}V{BASE}z"),
        words("ct", (left + right) / 2, top - 3, short(b.n)),
        path(f"wh {tint} soft", f"M{x:.4g} {y:.4g}V{_y(b.confidence):.4g}"),
        path(tint, f"M{x - 4:.4g} {y:.4g}a4 4 0 1 0 8 0a4 4 0 1 0-8 0z"),
    )


def short(n: int) -> str:
    """A count in at most four characters: `980`, `1.2k`, `31k`."""
    for size, sign in ((999_500_000, "G"), (999_500, "M"), (1000, "k")):
        if n >= size:
            x = n / {"G": 1e9, "M": 1e6, "k": 1e3}[sign]
            return f"{x:.1f}{sign}" if x < 9.95 else f"{x:.0f}{sign}"
    return str(n)
