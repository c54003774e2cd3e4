"""`python -m gen_msa.finetuning`: the one way into a run, for launchers and for `gen-msa finetune`.

Knows nothing of models. A launcher starts this once a process; each process says its own errors.

    accelerate launch -m gen_msa.finetuning --recipe tiny_cpu learning_rate=1e-4
"""

from collections.abc import Sequence
from pathlib import Path

from gen_msa.finetuning import recipe
from gen_msa.training.launch import require_extra, run_recipe_script

_HEAVY = ("torch", "transformers", "accelerate", "peft")


def start(
    name: str,
    overrides: Sequence[str] = (),
    *,
    dry_run: bool = False,
    resume: bool | None = None,
) -> Path:
    """Fine-tune by the recipe called `name`; returns the adapter's folder.

    `resume=None` leaves it to the recipe. `dry_run` plans, prints and probes one step of the
    longest batch, and writes nothing. Raises `UserError`; its `exit_code` is 4 for a run that
    diverged.
    """
    all_overrides = [*overrides, *([] if resume is None else [f"resume={str(resume).lower()}"])]
    settings = recipe.load_recipe(name, all_overrides)
    with require_extra("train", _HEAVY):
        from gen_msa.finetuning.loop import finetune
    return finetune(settings, dry_run=dry_run)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a script. Exits with the `UserError`'s code, 130 when interrupted."""
    run_recipe_script(
        "gen_msa.finetuning",
        start,
        arguments,
        interrupt_message="complete checkpoints are kept",
    )


if __name__ == "__main__":
    main()
