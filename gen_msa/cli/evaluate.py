"""`gen-msa evaluate`: compare models, with confidence intervals, as HTML and JSON."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gen_msa.cli import _options, _sending

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
    typer.Option("--model", "-m", help="Replace the models of the suite; repeatable."),
]
SeedsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--seeds",
        help="The one --model trained with another seed; repeatable. A folder of"
        " `finetune --seeds` or `distill --seeds` as --model has its seeds by itself.",
    ),
]
ReferenceOption = Annotated[
    str | None,
    typer.Option("--reference", help="Annotator whose opinions are the reference. Default: gold."),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder for report.html and results.json.")
]
CardOption = Annotated[
    Path | None,
    typer.Option("--card", help="Write the metrics of the first model into this model card."),
]
LatexOption = Annotated[
    bool,
    typer.Option("--latex", help="Print a LaTeX table (booktabs), as in metrics.tex."),
]
NoCacheOption = Annotated[
    bool, typer.Option("--no-cache", help="Ignore and overwrite cached answers.")
]


def evaluate(
    target: TargetArgument,
    settings: SettingsArgument = None,
    model: ModelsOption = None,
    seeds: SeedsOption = None,
    reference: ReferenceOption = None,
    out: OutOption = None,
    card: CardOption = None,
    latex: LatexOption = False,
    no_cache: NoCacheOption = False,
    pseudonymize: _options.PseudonymizeOption = None,
    yes: _sending.YesOption = False,
    max_error_rate: _options.MaxErrorRateOption = None,
    strict: _options.StrictOption = False,
) -> None:
    """Compare models on labels and explanations, with intervals and paired tests.

    gen-msa evaluate twitter2015 --model builtin

    gen-msa evaluate opinions.jsonl --reference gold
    """
    from gen_msa.cli import _evaluation

    options = _evaluation.EvaluateOptions(
        target,
        settings or (),
        model or (),
        seeds or (),
        reference,
        pseudonymize,
        0.0 if strict else max_error_rate,
    )
    sys.exit(_evaluation.run(options, out, card, latex=latex, no_cache=no_cache, yes=yes))
