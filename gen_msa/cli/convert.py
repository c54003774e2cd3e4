"""`gen-msa convert`: the same examples in another format."""

from pathlib import Path
from typing import Annotated

import typer

FromOption = Annotated[
    str | None, typer.Option("--from", help="Format of SOURCE; see `ls formats`.")
]
ToOption = Annotated[
    str | None, typer.Option("--to", help="Format of TARGET; default: its suffix.")
]


def convert(
    source: Annotated[str, typer.Argument(help="A file, or DATASET:SPLIT.")],
    target: Annotated[Path, typer.Argument(help="The file to write.")],
    from_format: FromOption = None,
    to_format: ToOption = None,
) -> None:
    """Write SOURCE's examples, labels included, as TARGET. What cannot be kept is an error."""
    from rich.console import Console

    from gen_msa.data import convert as write
    from gen_msa.data import open_examples

    counts = write(open_examples(source, format=from_format), target, to_format)
    console = Console(stderr=True)
    console.print(f"wrote {counts.written:,} examples to {target}", highlight=False)
    if counts.rejected:
        console.print(
            f"{counts.rejected:,} rows set aside in {counts.rejected_file}", highlight=False
        )
