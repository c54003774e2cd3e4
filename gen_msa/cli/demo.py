"""`gen-msa demo`: the shipped posts, explained, as a table and a report."""

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Option("--out", "-o", help="Where opinions and report go.")]
ReaderName = Annotated[str, typer.Option("--reader", "-r", help="Who reads.")]


def demo(out: Folder = Path("demo"), reader: ReaderName = "builtin") -> None:
    """Explain the shipped posts with their pictures; write opinions and report.html."""
    from gen_msa.cli.explain import explain

    report, opinions = out / "report.html", out / "opinions.jsonl"
    explain(posts=["tiny"], reader=reader, out=opinions, html=report)
