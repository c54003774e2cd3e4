"""`gen-msa convert`: the same examples in another format."""

from pathlib import Path
from typing import Annotated

import typer

From = Annotated[str | None, typer.Option("--from", help="Format of SOURCE; see `ls formats`.")]
To = Annotated[str | None, typer.Option("--to", help="Format of TARGET; default: its suffix.")]


def convert(
    source: Annotated[str, typer.Argument(help="A file, or DATASET:SPLIT.")],
    target: Annotated[Path, typer.Argument(help="The file to write.")],
    from_: From = None,
    to: To = None,
) -> None:
    """Write SOURCE's examples, labels included, as TARGET. What cannot be kept is an error."""
    from rich.console import Console

    from gen_msa.data import convert as write
    from gen_msa.data import open_source

    counts = write(open_source(source, format=from_), target, to)
    err = Console(stderr=True)
    err.print(f"wrote {counts.written:,} examples to {target}", highlight=False)
    if counts.rejected:
        err.print(f"{counts.rejected:,} rows set aside in {counts.rejected_file}", highlight=False)
