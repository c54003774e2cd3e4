"""`gen-msa distill`: what readers said of posts becomes a compact student."""

from typing import Annotated

import typer

Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings on top of the recipe, e.g. data.0.source=posts.jsonl.",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Plan, print, try the longest batch; write nothing.")
]


def distill(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (`ls distill`), or your .yaml.")],
    settings: Settings = None,
    dry_run: DryRun = False,
) -> None:
    """Train a student by RECIPE, in this one process, on the CPU.

    gen-msa distill text output_dir=students/mine
    """
    from gen_msa.distilling.__main__ import start

    start(recipe, settings or (), dry_run=dry_run)
