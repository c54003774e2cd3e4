"""`gen-msa finetune`: posts with labels and reasons become an adapter of a multimodal LLM."""

from typing import Annotated

import typer

from gen_msa.cli import _recipe


def finetune(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (`ls recipes`), or your .yaml.")],
    settings: _recipe.SettingsArgument = None,
    dry_run: _recipe.DryRunOption = False,
    resume: _recipe.ResumeOption = None,
) -> None:
    """Fine-tune a model by RECIPE, in this one process.

    gen-msa finetune tiny_cpu output_dir=adapters/tiny

    For several GPUs: accelerate launch -m gen_msa.finetuning --recipe RECIPE KEY=VALUE
    """
    from gen_msa.finetuning.__main__ import start

    start(recipe, settings or (), dry_run=dry_run, resume=resume)
