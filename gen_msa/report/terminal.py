"""The first opinions as a small table for the terminal.

Knows nothing of files. Colour appears only on a terminal; piped, the table is plain text without
lines. Foreign text can neither colour nor move the cursor.

    rich.print(table(examples, limit=20))
"""

from collections.abc import Iterable, Iterator
from itertools import islice

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from gen_msa.report.groups import GOLD
from gen_msa.report.visible import MARK, STYLE, printable, tone_of
from gen_msa.types import WHOLE_POST, Example, Opinion, Post, Status

CONTEXT = 28
"""Characters of the post shown on each side of the aspect."""

ROOMY = 100
"""Columns from which the post's words are shown; below, its id."""

Row = tuple[Post, Opinion | None]


def table(examples: Iterable[Example], limit: int = 20) -> "OpinionTable":
    """A renderable of the first `limit` opinions.

    Reads no more of `examples` than it shows. Gold is left out where a reader spoke; a post with no
    opinion has a row that says so.
    """
    rows = list(islice(_rows(examples), limit + 1))
    return OpinionTable(rows[:limit], more=len(rows) > limit)


def _rows(examples: Iterable[Example]) -> Iterator[Row]:
    for example in examples:
        said = tuple(o for o in example.opinions if o.by != GOLD)
        for opinion in said or example.opinions or (None,):
            yield example.post, opinion


class OpinionTable:
    """Rows of a post and what was said of it, drawn to the width of the console."""

    def __init__(self, rows: list[Row], more: bool) -> None:
        self._rows = rows
        self._more = more

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lines and colour on a terminal, bare columns elsewhere; ids for posts where narrow."""
        lines = box.SIMPLE_HEAD if console.is_terminal else None
        out = Table(box=lines, pad_edge=False, header_style="dim", expand=False)
        out.add_column("aspect", max_width=22, overflow="fold")
        out.add_column("polarity", no_wrap=True)
        out.add_column("p", justify="right", no_wrap=True)
        roomy = options.max_width >= ROOMY
        out.add_column("reason", ratio=3, overflow="fold")
        out.add_column("post", ratio=3 if roomy else 1, overflow="fold")
        several = len({o.by for _, o in self._rows if o}) > 1
        if several:
            out.add_column("by", max_width=18, overflow="fold", style="dim")
        for post, opinion in self._rows:
            by = [Text(printable(opinion.by if opinion else ""))] if several else []
            place = _around(post.text, opinion) if roomy else Text(printable(post.id))
            out.add_row(*_cells(opinion), place, *by)
        yield out
        if self._more:
            yield Text(f"… the first {len(self._rows)} opinions; there are more", style="dim")


def _cells(opinion: Opinion | None) -> list[Text]:
    if opinion is None:
        return [Text("–"), Text("no opinion", style="dim"), Text(""), Text("")]
    tone = tone_of(opinion.polarity)
    style = STYLE.get(tone, "yellow")
    label = Text(f"{MARK[tone]} {opinion.polarity or opinion.status}", style=style)
    if opinion.polarity and opinion.status is not Status.OK:
        label.append(f" ({opinion.status})", style="dim")
    chosen = opinion.probability
    p = "" if chosen is None else f"{chosen:.2f}"
    term = Text(printable(opinion.aspect.term) or "(whole post)", style="bold")
    return [term, label, Text(p), Text(printable(opinion.explanation or ""))]


def _around(text: str, opinion: Opinion | None) -> Text:
    """The post, cut to what stands around the aspect; the aspect itself in bold."""
    aspect = opinion.aspect if opinion else WHOLE_POST
    style = STYLE.get(tone_of(opinion.polarity), "yellow") if opinion else ""
    start = aspect.start
    if start is None or text[start : start + len(aspect.term)] != aspect.term:
        cut = printable(text[: 2 * CONTEXT])
        return Text(cut + ("…" if len(text) > 2 * CONTEXT else ""))
    end = start + len(aspect.term)
    before, after = text[max(0, start - CONTEXT) : start], text[end : end + CONTEXT]
    out = Text("…" if start > CONTEXT else "")
    out.append(printable(before)).append(printable(aspect.term), style=f"bold {style}")
    out.append(printable(after)).append("…" if end + CONTEXT < len(text) else "")
    return out
