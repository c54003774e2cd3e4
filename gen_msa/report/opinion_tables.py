"""Opinions as a CSV file and as a small table for the terminal.

In the terminal, colour appears only on a TTY; piped, the table is plain text without lines. Text
from outside can neither change colours nor move the cursor.

    write_csv(examples, Path("opinions.csv"))
    rich.print(opinion_table(examples, limit=20))
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from io import TextIOWrapper
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from gen_msa.errors import MissingExtra
from gen_msa.formula_guard import OWN_AUTHOR, escape_formula
from gen_msa.jsonl import atomic_write
from gen_msa.report.style import TONE_STYLES, TONE_SYMBOLS, printable, tone_of
from gen_msa.report.summary import GOLD
from gen_msa.types import OVERALL_ASPECT, Example, Opinion, Polarity, Post, Status

CSV_COLUMNS = (
    *("post", "text", "aspect", "start", "annotator", "polarity", "probability"),
    *(f"p_{p}" for p in Polarity),
    *("score", "explanation", "evidence", "status", "provenance", "images"),
)

CsvCell = str | float | int | None
MAX_CELL_CHARS = 32_767
"""Characters of a cell of a workbook."""
_MAX_SHEET_ROWS = 1_048_576


MAX_OWN_COLUMNS = 200
"""Columns of the posts' own in a table; what else they have stands as JSON in the last one."""
_OTHER = "meta"


def write_csv(examples: Iterable[Example], path: Path) -> int:
    """Write one row per opinion, then the post's own columns. `explain` reads the file back.

    A post without opinions has one row with empty cells, so that no post is lost. Several quotes
    are joined by ` | `, provenance by `; `.

    Args:
        examples: The posts with opinions; read twice.
        path: The file.

    Returns:
        The number of rows.
    """
    rows = 0
    own = OwnColumns.of(examples)
    with atomic_write(path) as f:
        text = TextIOWrapper(f, "utf-8-sig", errors="replace", newline="")
        out = csv.writer(text)
        out.writerow([*CSV_COLUMNS, *map(escape_formula, own.names())])
        for cells in _table_rows(examples, own):
            out.writerow(map(escape_formula, cells))
            rows += 1
        text.detach()
    return rows


def write_xlsx(examples: Iterable[Example], path: Path) -> int:
    """Write a workbook with one row per opinion, then the post's own columns.

    Texts that begin like a formula stay texts. Rows that do not fit on a sheet go to the next one.

    Args:
        examples: The posts with opinions; read twice.
        path: The file.

    Returns:
        The number of cells that were cut, because a cell holds at most `MAX_CELL_CHARS` characters.

    Raises:
        MissingExtra: xlsxwriter is not installed.
    """
    try:
        import xlsxwriter
    except ModuleNotFoundError:
        raise MissingExtra("xlsxwriter", "files") from None
    own, n_cut = OwnColumns.of(examples), 0
    header = [*CSV_COLUMNS, *own.names()]
    with atomic_write(path) as file:
        book = xlsxwriter.Workbook(file, {"constant_memory": True})
        book.set_properties({"author": OWN_AUTHOR})
        sheet, line = book.add_worksheet(), 0
        _write_cells(sheet, line, header)
        for cells in _table_rows(examples, own):
            line += 1
            if line == _MAX_SHEET_ROWS:
                sheet, line = book.add_worksheet(), 1
                _write_cells(sheet, 0, header)
            n_cut += _write_cells(sheet, line, cells)
        book.close()
    return n_cut


def _write_cells(sheet: Any, line: int, cells: Sequence[CsvCell]) -> int:
    """Write one row of a workbook; return how many cells were cut."""
    n_cut = 0
    for column, cell in enumerate(cells):
        if isinstance(cell, str):
            n_cut += len(cell) > MAX_CELL_CHARS
            sheet.write_string(line, column, cell[:MAX_CELL_CHARS])
        elif cell is not None:
            sheet.write_number(line, column, cell)
    return n_cut


class OwnColumns(NamedTuple):
    """The columns of a table that the posts bring along: the keys of their `meta`."""

    keys: tuple[str, ...]
    has_others: bool
    """Whether there are more keys than columns; a last column has them as JSON."""

    @classmethod
    def of(cls, examples: Iterable[Example]) -> "OwnColumns":
        """Return the keys in order of appearance, at most `MAX_OWN_COLUMNS`."""
        keys: dict[str, None] = {}
        for example in examples:
            keys.update(dict.fromkeys(example.post.meta))
            if len(keys) > MAX_OWN_COLUMNS:
                return cls(tuple(keys)[:MAX_OWN_COLUMNS], has_others=True)
        return cls(tuple(keys), has_others=False)

    def names(self) -> list[str]:
        """Return the names of the columns."""
        return [*map(column_name, self.keys), *([_OTHER] if self.has_others else [])]

    def cells(self, post: Post) -> list[CsvCell]:
        """Return the cells of a post."""
        meta = dict(post.meta)
        cells = [_plain(meta.pop(key, None)) for key in self.keys]
        others: list[CsvCell] = [json.dumps(meta, ensure_ascii=False) if meta else None]
        return cells + others if self.has_others else cells


def column_name(key: str) -> str:
    """Return the name of the column for a key of `meta`: `meta.KEY` if KEY is a column of ours."""
    is_taken = key in CSV_COLUMNS or key == _OTHER or key.startswith(f"{_OTHER}.")
    return f"{_OTHER}.{key}" if is_taken else key


def _table_rows(examples: Iterable[Example], own: OwnColumns) -> Iterator[list[CsvCell]]:
    """Yield the cells of each opinion, then those of the post's own columns."""
    for example in examples:
        for opinion in example.opinions or (None,):
            yield [*csv_cells(example.post, opinion), *own.cells(example.post)]


def _plain(value: Any) -> CsvCell:
    """Return a value of `meta` as a cell: structures as JSON."""
    if value is None or isinstance(value, str):
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    return value if is_number else json.dumps(value, ensure_ascii=False)


def csv_cells(post: Post, opinion: Opinion | None) -> list[CsvCell]:
    """Return the cells of one row of the CSV, in the order of `CSV_COLUMNS`.

    Args:
        post: The post.
        opinion: One of its opinions; None: the opinion cells are empty.
    """
    images = "\n".join(m.path for m in post.media if m.kind == "image") or None
    if opinion is None:
        return [post.id, post.text, *([None] * (len(CSV_COLUMNS) - 3)), images]
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
        images,
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
