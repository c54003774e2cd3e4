"""Opinions as a CSV file for people with a spreadsheet: one row an opinion.

Knows nothing of readers. Three choices are for the spreadsheet. The file opens with a UTF-8 byte
order mark, because Excel reads it as the local code page otherwise. A cell whose first visible
character could start a formula (`= + - @`, their full-width forms, a tab or a line break) gets a
leading apostrophe; strip it when you need the exact text, or read the JSONL instead. Lines end in
CR LF and line breaks inside a cell are kept, quoted.

    write_csv(examples, Path("opinions.csv"))      # number of rows
"""

import csv
from collections.abc import Iterable
from io import TextIOWrapper
from pathlib import Path

from gen_msa.jsonl import atomic_write
from gen_msa.types import Example, Opinion, Polarity, Post

CSV_COLUMNS = (
    *("post", "text", "aspect", "start", "by", "polarity", "probability"),
    *(f"p_{p}" for p in Polarity),
    *("score", "explanation", "evidence", "status", "how"),
)

_STARTS_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")

CsvCell = str | float | int | None


def write_csv(examples: Iterable[Example], path: Path) -> int:
    """Write one row an opinion and return how many rows there are.

    A post about which nothing was said has one row with empty opinion cells, so no post vanishes.
    Several quotes are joined by ` | `, provenance by `; `.
    """
    rows = 0
    with atomic_write(path) as f:
        text = TextIOWrapper(f, "utf-8-sig", errors="replace", newline="")
        out = csv.writer(text)
        out.writerow(CSV_COLUMNS)
        for example in examples:
            for opinion in example.opinions or (None,):
                out.writerow([escape_formula(cell) for cell in _csv_cells(example.post, opinion)])
                rows += 1
        text.detach()
    return rows


def escape_formula(cell: CsvCell) -> CsvCell:
    """The cell with an apostrophe before it if a spreadsheet could take it for a formula."""
    if not isinstance(cell, str):
        return cell
    risky = cell[:1] in ("\t", "\r", "\n") or cell.lstrip().startswith(_STARTS_FORMULA)
    return "'" + cell if risky else cell


def _csv_cells(post: Post, opinion: Opinion | None) -> list[CsvCell]:
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
