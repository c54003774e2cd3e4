"""Opinions as a CSV file and as a small table for the terminal.

In the terminal, colour appears only on a TTY; piped, the table is plain text without lines. Text
from outside can neither change colours nor move the cursor.

    write_csv(examples, Path("opinions.csv"))
    rich.print(opinion_table(examples, limit=20))
"""

import csv
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from itertools import islice
from pathlib import Path

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from gen_msa.jsonl import atomic_write
from gen_msa.report.style import TONE_STYLES, TONE_SYMBOLS, printable, tone_of
from gen_msa.report.summary import GOLD
from gen_msa.types import OVERALL_ASPECT, Example, Opinion, Polarity, Post, Status

CSV_COLUMNS = (
    *("post", "text", "aspect", "start", "annotator", "polarity", "probability"),
    *(f"p_{p}" for p in Polarity),
    *("score", "explanation", "evidence", "status", "provenance"),
)

_STARTS_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")

CsvCell = str | float | int | None


def write_csv(examples: Iterable[Example], path: Path) -> int:
    """Write one row per opinion.

    A post without opinions has one row with empty cells, so that no post is lost. Several quotes
    are joined by ` | `, provenance by `; `.

    Args:
        examples: The posts with opinions.
        path: The file.

    Returns:
        The number of rows.
    """
    rows = 0
    with atomic_write(path) as f:
        text = TextIOWrapper(f, "utf-8-sig", errors="replace", newline="")
        out = csv.writer(text)
        out.writerow(CSV_COLUMNS)
        for example in examples:
            for opinion in example.opinions or (None,):
                out.writerow([escape_formula(cell) for cell in csv_cells(example.post, opinion)])
                rows += 1
        text.detach()
    return rows


def escape_formula(cell: CsvCell) -> CsvCell:
    """Put an apostrophe before a cell that a spreadsheet could take for a formula."""
    if not isinstance(cell, str):
        return cell
    risky = cell[:1] in ("\t", "\r", "\n") or cell.lstrip().startswith(_STARTS_FORMULA)
    return "'" + cell if risky else cell


def csv_cells(post: Post, opinion: Opinion | None) -> list[CsvCell]:
    """Return the cells of one row of the CSV, in the order of `CSV_COLUMNS`.

    Args:
        post: The post.
        opinion: One of its opinions; None: the opinion cells are empty.
    """
    if opinion is None:
        return [post.id, post.text, *([None] * (len(CSV_COLUMNS) - 2))]
    probs = opinion.probs or {}
    return [
        post.id,
        post.text,
        opinion.aspect.term,
        opinion.aspect.start,
        opinion.annotator,
        opinion.polarity,
        opinion.probability,
        *(probs.get(p) for p in Polarity),
        opinion.score,
        opinion.explanation,
        " | ".join(e.quote for e in opinion.evidence),
        opinion.status,
        "; ".join(f"{key}={value}" for key, value in opinion.provenance.items()),
    ]


CONTEXT_CHARS = 28
"""Characters of the post on each side of the aspect."""

WIDE_COLUMNS = 100
"""Terminal width from which the text of the post is shown; below it, its id."""

PostOpinion = tuple[Post, Opinion | None]


def opinion_table(examples: Iterable[Example], limit: int = 20) -> "OpinionTable":
    """Return a renderable of the first opinions.

    Only as many examples are consumed as are shown. Gold is left out where there are other
    annotators; a post without opinions has a row that says so.

    Args:
        examples: The posts with opinions.
        limit: Maximum number of opinions.
    """
    rows = list(islice(_post_opinions(examples), limit + 1))
    return OpinionTable(rows[:limit], more=len(rows) > limit)


def _post_opinions(examples: Iterable[Example]) -> Iterator[PostOpinion]:
    for example in examples:
        predictions = tuple(o for o in example.opinions if o.annotator != GOLD)
        for opinion in predictions or example.opinions or (None,):
            yield example.post, opinion


class OpinionTable:
    """Rows of posts and opinions, fitted to the width of the console."""

    def __init__(self, rows: list[PostOpinion], more: bool) -> None:
        self._rows = rows
        self._more = more

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table: lines and colour on a terminal, plain columns elsewhere."""
        lines = box.SIMPLE_HEAD if console.is_terminal else None
        out = Table(box=lines, pad_edge=False, header_style="dim", expand=False)
        out.add_column("aspect", max_width=22, overflow="fold")
        out.add_column("polarity", no_wrap=True)
        out.add_column("p", justify="right", no_wrap=True)
        is_wide = options.max_width >= WIDE_COLUMNS
        out.add_column("explanation", ratio=3, overflow="fold")
        out.add_column("post", ratio=3 if is_wide else 1, overflow="fold")
        many_annotators = len({o.annotator for _, o in self._rows if o}) > 1
        if many_annotators:
            out.add_column("annotator", max_width=18, overflow="fold", style="dim")
        for post, opinion in self._rows:
            annotator = (
                [Text(printable(opinion.annotator if opinion else ""))] if many_annotators else []
            )
            excerpt = _excerpt(post.text, opinion) if is_wide else Text(printable(post.id))
            out.add_row(*_table_cells(opinion), excerpt, *annotator)
        yield out
        if self._more:
            yield Text(f"… the first {len(self._rows)} opinions; there are more", style="dim")


def _table_cells(opinion: Opinion | None) -> list[Text]:
    if opinion is None:
        return [Text("–"), Text("no opinion", style="dim"), Text(""), Text("")]
    tone = tone_of(opinion.polarity)
    style = TONE_STYLES.get(tone, "yellow")
    label = Text(f"{TONE_SYMBOLS[tone]} {opinion.polarity or opinion.status}", style=style)
    if opinion.polarity and opinion.status is not Status.OK:
        label.append(f" ({opinion.status})", style="dim")
    probability = opinion.probability
    p = "" if probability is None else f"{probability:.2f}"
    term = Text(printable(opinion.aspect.term) or "(whole post)", style="bold")
    return [term, label, Text(p), Text(printable(opinion.explanation or ""))]


def _excerpt(text: str, opinion: Opinion | None) -> Text:
    """Cut the post to the context of the aspect, the aspect in bold."""
    aspect = opinion.aspect if opinion else OVERALL_ASPECT
    style = TONE_STYLES.get(tone_of(opinion.polarity), "yellow") if opinion else ""
    start = aspect.start
    if start is None or text[start : start + len(aspect.term)] != aspect.term:
        excerpt = printable(text[: 2 * CONTEXT_CHARS])
        return Text(excerpt + ("…" if len(text) > 2 * CONTEXT_CHARS else ""))
    end = start + len(aspect.term)
    before, after = text[max(0, start - CONTEXT_CHARS) : start], text[end : end + CONTEXT_CHARS]
    out = Text("…" if start > CONTEXT_CHARS else "")
    out.append(printable(before)).append(printable(aspect.term), style=f"bold {style}")
    out.append(printable(after)).append("…" if end + CONTEXT_CHARS < len(text) else "")
    return out
