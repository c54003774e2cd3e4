"""`python -m gen_msa.distillation`: starts a run, for launchers and for `gen-msa distill`.

A launcher starts this once in every process; each process reports its own errors.

    python -m gen_msa.distillation --recipe text learning_rate=3e-5
"""

from collections.abc import Sequence

from gen_msa.distillation import start
from gen_msa.training.launch import run_recipe_script


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a script. Exits with the `UserError`'s code, 130 when interrupted."""
    run_recipe_script(
        "gen_msa.distillation",
        start,
        arguments,
        interrupt_message="the best student so far is kept",
    )
    from gen_msa.training.distributed import destroy_process_group

    destroy_process_group()


if __name__ == "__main__":
    main()
