"""`gen-msa evaluate`: any reader against any other, with intervals, in one HTML file and a JSON."""

import sys
from pathlib import Path
from typing import Annotated

import typer

What = Annotated[
    str,
    typer.Argument(
        metavar="SUITE|POSTS",
        help="A suite (`gen-msa ls suites`, or your .yaml), a file of opinions, or DATASET:SPLIT.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings on top of the suite, e.g. data=twitter2015:test replicates=2000.",
        show_default=False,
    ),
]
Readers = Annotated[
    list[str] | None,
    typer.Option("--reader", "-r", help="Instead of the suite's readers; may be repeated."),
]
Seeds = Annotated[
    list[str] | None,
    typer.Option("--seeds", help="The one --reader, trained with another seed; may be repeated."),
]
Against = Annotated[
    str | None, typer.Option("--against", help="Whose opinions count as right. Default: gold.")
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder for report.html and results.json.")
]
Card = Annotated[
    Path | None,
    typer.Option("--card", help="Put the first reader's figures into this model card."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Forget answers of earlier runs.")]


def evaluate(
    what: What,
    settings: Settings = None,
    reader: Readers = None,
    seeds: Seeds = None,
    against: Against = None,
    out: Out = None,
    card: Card = None,
    fresh: Fresh = False,
) -> None:
    """Compare readers on labels and explanations, with intervals and paired tests.

    gen-msa evaluate twitter2015 --reader builtin

    gen-msa evaluate opinions.jsonl --against gold
    """
    from gen_msa.cli import _evaluation

    asked = _evaluation.Asked(what, settings or (), reader or (), seeds or (), against)
    sys.exit(_evaluation.run(asked, out, card, fresh=fresh))
