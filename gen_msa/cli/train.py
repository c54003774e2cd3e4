"""`gen-msa finetune`: posts with labels and reasons become an adapter of a multimodal LLM."""

from typing import Annotated

import typer

# What the two commands that train by a recipe are asked alike. Knows nothing of training.

SettingsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings on top of the recipe, e.g. data.0.source=posts.jsonl.",
        show_default=False,
    ),
]
ResumeOption = Annotated[
    bool | None,
    typer.Option(
        "--resume/--no-resume",
        help="Go on from the last whole checkpoint, or begin anew. Default: as the recipe says.",
        show_default=False,
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Plan, print, try the longest batch; write nothing.")
]


# `gen-msa distill`: what readers said of posts becomes a compact student.


def distill(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (`ls distill`), or your .yaml.")],
    settings: SettingsArgument = None,
    dry_run: DryRunOption = False,
    resume: ResumeOption = None,
) -> None:
    """Train a student by RECIPE, in this one process, on a GPU where there is one.

    gen-msa distill text output_dir=students/mine
    """
    from gen_msa.distillation.__main__ import start

    start(recipe, settings or (), dry_run=dry_run, resume=resume)


def finetune(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (`ls recipes`), or your .yaml.")],
    settings: SettingsArgument = None,
    dry_run: DryRunOption = False,
    resume: ResumeOption = None,
) -> None:
    """Fine-tune a model by RECIPE, in this one process.

    gen-msa finetune tiny_cpu output_dir=adapters/tiny

    For several GPUs: accelerate launch -m gen_msa.finetuning --recipe RECIPE KEY=VALUE
    """
    from gen_msa.finetuning.__main__ import start

    start(recipe, settings or (), dry_run=dry_run, resume=resume)
