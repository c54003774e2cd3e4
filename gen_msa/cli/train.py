"""`gen-msa finetune` and `gen-msa distill`: train by a recipe, in this process."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from gen_msa.cli._options import StrictOption

SettingsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings that override the recipe, e.g. data.0.source=posts.jsonl.",
        show_default=False,
    ),
]
ResumeOption = Annotated[
    bool | None,
    typer.Option(
        "--resume/--no-resume",
        help="Resume from the last complete checkpoint, or start over. Default: the recipe's.",
        show_default=False,
    ),
]
SeedsOption = Annotated[
    int | None,
    typer.Option(
        "--seeds",
        min=2,
        help="Train with the seeds 0 to N-1, into output_dir/seed-N; finished ones stay.",
        show_default=False,
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Plan, print, try the longest batch; write nothing.")
]


def finetune(
    recipe: Annotated[str, typer.Argument(help="A recipe (`ls recipes`), or your own .yaml.")],
    settings: SettingsArgument = None,
    dry_run: DryRunOption = False,
    resume: ResumeOption = None,
    strict: StrictOption = False,
    seeds: SeedsOption = None,
) -> None:
    """Fine-tune a multimodal LLM by RECIPE, in this process.

    gen-msa finetune tiny_cpu output_dir=adapters/tiny

    For several GPUs: accelerate launch -m gen_msa.finetuning --recipe RECIPE KEY=VALUE
    """
    from gen_msa.finetuning import start
    from gen_msa.finetuning.recipe import load_recipe

    _train(start, load_recipe, recipe, settings or (), dry_run=dry_run, resume=resume, seeds=seeds)


def distill(
    recipe: Annotated[str, typer.Argument(help="A recipe (`ls distill`), or your own .yaml.")],
    settings: SettingsArgument = None,
    dry_run: DryRunOption = False,
    resume: ResumeOption = None,
    strict: StrictOption = False,
    seeds: SeedsOption = None,
) -> None:
    """Train a student by RECIPE, in this process, on a GPU if there is one.

    gen-msa distill text output_dir=students/mine
    """
    from gen_msa.distillation import start
    from gen_msa.distillation.recipe import load_recipe

    _train(start, load_recipe, recipe, settings or (), dry_run=dry_run, resume=resume, seeds=seeds)


def _train(
    start: Callable[..., Path],
    load_recipe: Callable[..., Any],
    recipe: str,
    settings: Sequence[str],
    *,
    dry_run: bool,
    resume: bool | None,
    seeds: int | None,
) -> None:
    if seeds is None:
        start(recipe, settings, dry_run=dry_run, resume=resume)
        return
    from gen_msa.training.seeds import train_seeds

    train_seeds(start, load_recipe, recipe, settings, seeds, dry_run=dry_run, resume=resume)
