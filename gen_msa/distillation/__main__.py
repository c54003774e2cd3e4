"""`python -m gen_msa.distillation`: the one way into a run, for launchers and `gen-msa distill`.

Knows nothing of students.

    python -m gen_msa.distillation --recipe text learning_rate=3e-5
"""

from collections.abc import Sequence
from pathlib import Path

from gen_msa.distillation import recipe
from gen_msa.training.launch import require_extra, run_recipe_script

_HEAVY = ("torch", "transformers", "safetensors", "tokenizers", "accelerate")


def start(
    name: str,
    overrides: Sequence[str] = (),
    *,
    dry_run: bool = False,
    resume: bool | None = None,
) -> Path:
    """Train a student by the recipe called `name`; returns its folder.

    `resume=None` leaves it to the recipe. `dry_run` plans, prints and tries the longest batch, and
    writes nothing. Raises `UserError`; its `exit_code` is 4 for a run that diverged.
    """
    all_overrides = [*overrides, *([] if resume is None else [f"resume={str(resume).lower()}"])]
    settings = recipe.load_recipe(name, all_overrides)
    with require_extra("train", _HEAVY):
        from gen_msa.distillation.loop import distill
    return distill(settings, dry_run=dry_run)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a script. Exits with the `UserError`'s code, 130 when interrupted."""
    run_recipe_script(
        "gen_msa.distillation",
        start,
        arguments,
        interrupt_message="the best student so far is kept",
    )
    from gen_msa.training.data_parallel import destroy_process_group

    destroy_process_group()


if __name__ == "__main__":
    main()
