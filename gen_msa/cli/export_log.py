"""`gen-msa export-log`: write the samples of an evaluation as logs of other tools."""

from pathlib import Path
from typing import Annotated

import typer

ResultsArgument = Annotated[
    Path,
    typer.Argument(metavar="RESULTS", help="results.json, with samples.jsonl beside it."),
]
FormatOption = Annotated[str, typer.Option("--to", help="Log format: lm-eval or inspect.")]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder for the logs.")]
ModelsOption = Annotated[
    list[str] | None, typer.Option("--model", "-m", help="Only this model; repeatable.")
]
SamplesOption = Annotated[
    Path | None, typer.Option("--samples", help="Posts with opinions, if not beside RESULTS.")
]


def export_log(
    results: ResultsArgument,
    log_format: FormatOption = "inspect",
    out: OutOption = Path("logs"),
    model: ModelsOption = None,
    samples: SamplesOption = None,
) -> None:
    """Write the rows of RESULTS as sample logs of lm-evaluation-harness or inspect_ai.

    View them with `inspect view --log-dir logs`. An unparsed answer is `N` (inspect) or `[invalid]`
    (lm-eval), which differs from a wrong answer.
    """
    from rich.console import Console

    from gen_msa.evaluation.log_export import export_logs

    written = export_logs(results, log_format, out, systems=model or (), samples=samples)
    for path in written:
        Console(stderr=True).print(f"wrote {path}", highlight=False, soft_wrap=True)
