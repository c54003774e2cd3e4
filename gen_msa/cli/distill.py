"""`gen-msa distill`: what readers said of posts becomes a compact student."""

from typing import Annotated

import typer

from gen_msa.cli import _recipe


def distill(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (`ls distill`), or your .yaml.")],
    settings: _recipe.SettingsArgument = None,
    dry_run: _recipe.DryRunOption = False,
    resume: _recipe.Resume = None,
) -> None:
    """Train a student by RECIPE, in this one process, on a GPU where there is one.

    gen-msa distill text output_dir=students/mine
    """
    from gen_msa.distilling.__main__ import start

    start(recipe, settings or (), dry_run=dry_run, resume=resume)
