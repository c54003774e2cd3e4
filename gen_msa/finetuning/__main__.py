"""Entry point of a run, for launchers and for `gen-msa finetune`: `python -m gen_msa.finetuning`.

A launcher starts this once per process; each process reports its own errors.

    accelerate launch -m gen_msa.finetuning --recipe tiny_cpu learning_rate=1e-4
"""

from collections.abc import Sequence

from gen_msa.finetuning import start
from gen_msa.training.launch import run_recipe_script


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a script; exit with the code of a `UserError`, or 130 when interrupted."""
    run_recipe_script(
        "gen_msa.finetuning",
        start,
        arguments,
        interrupt_message="complete checkpoints are kept",
    )


if __name__ == "__main__":
    main()
