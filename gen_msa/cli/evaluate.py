"""`gen-msa evaluate`: any reader against any other, with intervals, in one HTML file and a JSON."""

import sys
from pathlib import Path
from typing import Annotated

import typer

TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="SUITE|POSTS",
        help="A suite (`gen-msa ls suites`, or your .yaml), a file of opinions, or DATASET:SPLIT.",
    ),
]
SettingsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings on top of the suite, e.g. data=twitter2015:test replicates=2000.",
        show_default=False,
    ),
]
ModelsOption = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help="Instead of the suite's readers; may be repeated."),
]
SeedsOption = Annotated[
    list[str] | None,
    typer.Option("--seeds", help="The one --model, trained with another seed; may be repeated."),
]
ReferenceOption = Annotated[
    str | None, typer.Option("--reference", help="Whose opinions count as right. Default: gold.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder for report.html and results.json.")
]
CardOption = Annotated[
    Path | None,
    typer.Option("--card", help="Put the first reader's figures into this model card."),
]
NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="Forget answers of earlier runs.")]


def evaluate(
    target: TargetArgument,
    settings: SettingsArgument = None,
    model: ModelsOption = None,
    seeds: SeedsOption = None,
    reference: ReferenceOption = None,
    out: OutOption = None,
    card: CardOption = None,
    no_cache: NoCacheOption = False,
) -> None:
    """Compare readers on labels and explanations, with intervals and paired tests.

    gen-msa evaluate twitter2015 --model builtin

    gen-msa evaluate opinions.jsonl --reference gold
    """
    from gen_msa.cli import _evaluation

    options = _evaluation.EvaluateOptions(
        target, settings or (), model or (), seeds or (), reference
    )
    sys.exit(_evaluation.run(options, out, card, no_cache=no_cache))
