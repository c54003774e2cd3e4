"""`gen-msa convert`: write examples in another format."""

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from gen_msa.cli._options import (
    EncodingOption,
    LabelMapOption,
    MapOption,
    SepOption,
    SheetOption,
    StrictOption,
    count_noun,
    parse_columns,
    parse_labels,
    print_lines,
)

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
    columns: MapOption = None,
    label_map: LabelMapOption = None,
    sep: SepOption = None,
    encoding: EncodingOption = None,
    sheet: SheetOption = None,
    strict: StrictOption = False,
) -> None:
    """Write the examples of SOURCE, labels included, to TARGET; losing a field is an error.

    The exit code is 3 when nothing could be read, or with --strict when a row was rejected.
    """
    from rich.console import Console

    from gen_msa.data import convert as write
    from gen_msa.data import open_examples
    from gen_msa.report.style import unused_line

    examples = open_examples(
        source,
        format=from_format,
        columns=parse_columns(columns),
        label_map=parse_labels(label_map),
        sep=sep or "",
        encoding=encoding or "",
        sheet=sheet or "",
    )
    counts = write(examples, target, to_format)
    console = Console(stderr=True)
    lines = [f"wrote {count_noun(counts.written, 'example')} to {target}"]
    if counts.rejected:
        lines.append(f"{count_noun(counts.rejected, 'row')} rejected; see {counts.rejected_file}")
    unused = examples.notes.unused + Counter(row=counts.rejected)
    print_lines(console, [*lines, unused_line(unused)])
    if not counts.written or (strict and counts.rejected):
        sys.exit(3)
