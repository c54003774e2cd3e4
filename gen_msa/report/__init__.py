"""Opinions for people: one HTML file, a CSV, a terminal table, and counts.

It takes a stream of `Example`s and never changes it. It counts agreement with gold and estimates
nothing.

    write_html(examples, Path("report.html"), title="Phones", media_root=Path("posts"), facts={})
    write_csv(examples, Path("opinions.csv"))
    rich.print(opinion_table(examples, limit=20))
"""

from gen_msa.report.opinion_tables import (
    CSV_COLUMNS,
    column_name,
    csv_cells,
    opinion_table,
    write_csv,
    write_xlsx,
)
from gen_msa.report.page import write_html
from gen_msa.report.summary import AnnotatorCounts, OpinionSummary

__all__ = [
    "CSV_COLUMNS",
    "AnnotatorCounts",
    "OpinionSummary",
    "column_name",
    "csv_cells",
    "opinion_table",
    "write_csv",
    "write_html",
    "write_xlsx",
]
