"""`gen-msa demo`: the shipped posts, explained, as a table and a report."""

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Option("--out", "-o", help="Where opinions and report go.")]
ReaderName = Annotated[str, typer.Option("--reader", "-r", help="Who reads.")]


def demo(out: Folder = Path("demo"), reader: ReaderName = "builtin") -> None:
    """Explain the shipped posts with their pictures: a table, opinions.jsonl and report.html."""
    from gen_msa.annotating import JobSettings
    from gen_msa.cli._job import run
    from gen_msa.data import open_source

    lines = out / "opinions.jsonl"
    run(
        open_source("tiny"),
        JobSettings(reader=reader),
        lines=lines,
        out=lines,
        csv=None,
        html=out / "report.html",
        ledger=out / "opinions.ledger",
        always_table=True,
    )
