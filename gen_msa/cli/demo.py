"""`gen-msa demo`: the shipped posts, explained, as a table and a report."""

from pathlib import Path
from typing import Annotated

import typer

OutOption = Annotated[Path, typer.Option("--out", "-o", help="Where opinions and report go.")]
ModelOption = Annotated[str, typer.Option("--model", "-m", help="Who reads.")]


def demo(out: OutOption = Path("demo"), model: ModelOption = "builtin") -> None:
    """Explain the shipped posts with their pictures: a table, opinions.jsonl and report.html."""
    from gen_msa.annotation import JobSettings
    from gen_msa.cli._job import run
    from gen_msa.data import open_examples

    lines = out / "opinions.jsonl"
    run(
        open_examples("tiny"),
        JobSettings(model=model),
        lines=lines,
        out=lines,
        csv=None,
        html=out / "report.html",
        cache_path=out / "opinions.cache",
        always_table=True,
    )
