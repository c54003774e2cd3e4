"""`gen-msa demo`: explain the packaged posts and write a table and a report."""

from pathlib import Path
from typing import Annotated

import typer

OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder for opinions and report.")]
ModelOption = Annotated[str, typer.Option("--model", "-m", help="The model; see `ls models`.")]


def demo(out: OutOption = Path("demo"), model: ModelOption = "builtin") -> None:
    """Explain the packaged posts and images: a table, opinions.jsonl and report.html."""
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
