"""`python -m gen_msa.distilling`: the one way into a run, for launchers and `gen-msa distill`.

Knows nothing of students.

    python -m gen_msa.distilling --recipe text learning_rate=3e-5
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gen_msa.distilling import recipe
from gen_msa.errors import MissingExtra, UserError

_HEAVY = ("torch", "transformers", "safetensors", "tokenizers", "accelerate")


def start(name: str, overrides: Sequence[str] = (), *, dry_run: bool = False) -> Path:
    """Train a student by the recipe called `name`; returns its folder.

    `dry_run` plans, prints and tries the longest batch, and writes nothing. Raises `UserError`; its
    `exit_code` is 4 for a run that diverged.
    """
    settings = recipe.load(name, overrides)
    try:
        from gen_msa.distilling.loop import distil
    except ModuleNotFoundError as e:
        package = (e.name or "").partition(".")[0]
        if package not in _HEAVY:
            raise
        raise MissingExtra(package, "train") from None
    return distil(settings, dry_run=dry_run)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a script. Exits with the `UserError`'s code, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="gen_msa.distilling", description=start.__doc__)
    parser.add_argument("--recipe", required=True, help="a shipped recipe's name, or your .yaml")
    parser.add_argument("--dry-run", action="store_true", help="plan and probe; write nothing")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    given = parser.parse_intermixed_args(arguments)
    # Models and packages lie on this machine; no library is to ask the hub behind our back.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        start(given.recipe, given.overrides, dry_run=given.dry_run)
        from gen_msa.distilling.sharing import leave

        leave()
    except UserError as e:
        sys.stderr.write(f"gen-msa: {e}\n")
        sys.exit(e.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("gen-msa: stopped; the best student so far is kept\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
