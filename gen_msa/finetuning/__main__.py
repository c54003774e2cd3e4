"""`python -m gen_msa.finetuning`: the one way into a run, for launchers and for `gen-msa finetune`.

Knows nothing of models. A launcher starts this once a process; each process says its own errors.

    accelerate launch -m gen_msa.finetuning --recipe tiny_cpu learning_rate=1e-4
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gen_msa.errors import MissingExtra, UserError
from gen_msa.finetuning import recipe

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
    said = [*overrides, *([] if resume is None else [f"resume={str(resume).lower()}"])]
    settings = recipe.load(name, said)
    try:
        from gen_msa.finetuning.loop import finetune
    except ModuleNotFoundError as e:
        package = (e.name or "").partition(".")[0]
        if package not in _HEAVY:
            raise
        raise MissingExtra(package, "train") from None
    return finetune(settings, dry_run=dry_run)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a script. Exits with the `UserError`'s code, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="gen_msa.finetuning", description=start.__doc__)
    parser.add_argument("--recipe", required=True, help="a shipped recipe's name, or your .yaml")
    parser.add_argument("--dry-run", action="store_true", help="plan and probe; write nothing")
    parser.add_argument("--resume", action=argparse.BooleanOptionalAction, help="default: recipe's")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    given = parser.parse_intermixed_args(arguments)
    # Models and packages lie on this machine; no library is to ask the hub behind our back.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        start(given.recipe, given.overrides, dry_run=given.dry_run, resume=given.resume)
    except UserError as e:
        sys.stderr.write(f"gen-msa{_process()}: {e}\n")
        sys.exit(e.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write(f"gen-msa{_process()}: stopped; whole checkpoints are kept\n")
        sys.exit(130)


def _process() -> str:
    """Which of several processes is speaking."""
    several = os.environ.get("WORLD_SIZE", "1") != "1"
    return f" (process {os.environ.get('RANK', '?')})" if several else ""


if __name__ == "__main__":
    main()
