"""An evaluation as one HTML file: figures and tests, plots, and the rows behind them.

Every table and plot is drawn from the `Result`; the examples give the rows that are shown as cards
and nothing else. The file works offline under the same content security policy as the report of
posts: its own style and script by hash, pictures as data URLs, every value escaped.

    write_evaluation(result, examples, Path("evaluation.html"), Path("pictures"))
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from markupsafe import Markup

from gen_msa.jsonl import whole
from gen_msa.report.album import Album, Draw
from gen_msa.report.cards import card_of
from gen_msa.report.evaluation.columns import families, headlines
from gen_msa.report.evaluation.costs import COSTS, costed, frontier, points, worth
from gen_msa.report.evaluation.frontier import drawing
from gen_msa.report.evaluation.grids import grid
from gen_msa.report.evaluation.panels import classes, slices
from gen_msa.report.evaluation.picks import KINDS, Picks
from gen_msa.report.evaluation.plots import mark, tint
from gen_msa.report.evaluation.reliability import reliability
from gen_msa.report.evaluation.tables import TOOK, compared, confusions, costs, probes
from gen_msa.report.summary import Summary
from gen_msa.report.templates import chunks, code, environment
from gen_msa.results import Result
from gen_msa.types import Example

LIVE, BATCH = 100, 50
"""Cards that a browser builds at once; the others wait in templates of so many, and are built while
the page is idle or when a filter asks for them. 5,000 built at once take two seconds."""

STYLES = ("page.css", "card.css", "evaluation.css", "figures.css")


def write_evaluation(
    result: Result,
    examples: Iterable[Example],
    path: Path,
    media_root: Path,
    limit: int = 5000,
    draw: Draw | None = None,
) -> int:
    """Write the page and return how many posts it shows as cards (at most `limit`).

    `examples` hold each post with the opinions of `result.against` and of every reader, whose `by`
    is its `ReaderResult.name`; they are read once. Rows that the result points at are drawn even
    beyond `limit`. `draw` makes a data URL from a picture below `media_root`; the default goes
    through `media`. The file appears under its name only when it is complete.
    """
    env, album, summary = environment(), Album(media_root, draw), Summary()
    card = env.get_template("card.html.jinja")
    picks = Picks(result, album, lambda c: card.render(card=c))
    with TemporaryFile("w+", encoding="utf-8", errors="replace", newline="") as cards:
        for example in examples:
            summary.add(example)
            picks.look(example)
            if summary.posts <= limit:
                drawn = card_of(example, summary.posts, album, result.against)
                cards.write(_fold(summary.posts) + card.render(card=drawn))
        shown = min(summary.posts, limit)
        cards.write("</template>" if shown > LIVE else "")
        cards.seek(0)
        _write(result, path, cards, picks, summary, shown)
    return shown


def _fold(number: int) -> str:
    """What stands before a card: past the first `LIVE`, a template opens every `BATCH` cards."""
    behind = number - LIVE - 1
    if behind < 0 or behind % BATCH:
        return ""
    return "</template><template>" if behind else "<template>"


def _write(
    result: Result, path: Path, cards: IO[str], picks: Picks, summary: Summary, shown: int
) -> None:
    page = environment().get_template("evaluation.html.jinja")
    view = {
        "result": result,
        "cards": chunks(cards),
        "summary": summary,
        "gold": result.against,
        "shown": shown,
        "picks": {kind: picks.of(kind) for kind in KINDS},
        "left_out": picks.left_out,
        "live": LIVE,
    }
    with whole(path) as out:
        for piece in page.generate(**view, **_figures(result), **code(*STYLES, script="page.js")):
            out.write(piece.encode("utf-8", "replace"))


def _figures(result: Result) -> dict[str, object]:
    """Everything above the rows."""
    readers = list(enumerate(result.readers))
    return {
        "headline": grid(result, headlines(result)),
        "families": [(name, of, grid(result, of)) for name, of in families(result).items()],
        "compared": compared(result),
        "confusions": confusions(result),
        "curves": [
            (r.name, at, r.calibration, reliability(r.calibration, _curve(r.name), tint(at)))
            for at, r in readers
            if r.calibration
        ],
        "classes": classes(result),
        "slices": slices(result),
        "probes": probes(result),
        "costed": costed(result),
        "cost_heads": tuple(COSTS.values()),
        "worth": worth(result),
        "frontier": _frontier(result),
        "took": costs(result),
        "took_heads": TOOK,
        "unread": [(r, at, Counter(u.status for u in r.unread)) for at, r in readers],
        "mark": mark,
    }


def _frontier(result: Result) -> Markup | None:
    """The plot of worth against speed; None where no reader has both."""
    found, d = points(result), worth(result)
    if not found or d is None:
        return None
    return drawing(found, frontier(found), d.name.replace("_", " "), d.unit)


def _curve(name: str) -> str:
    return f"Reliability of {name}: confidence across, accuracy up"
