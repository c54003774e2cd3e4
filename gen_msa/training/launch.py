"""What both launchers of training are as scripts: their arguments, exit codes and extras.

Each process of a launcher reports its own errors, with its rank.

    run_recipe_script("gen_msa.finetuning", start, interrupt_message="checkpoints are kept")
"""

import argparse
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gen_msa.errors import MissingExtra, as_user_error

INTERRUPTED = 130


def run_recipe_script(
    name: str,
    start: Callable[..., Path],
    arguments: Sequence[str] | None = None,
    *,
    interrupt_message: str,
) -> None:
    """Call `start(recipe, overrides, dry_run=…, resume=…)` as the command line says.

    Exits with the `UserError`'s code, or with 130 when interrupted.

    Args:
        name: The program's name in its help.
        start: Runs a recipe, and returns the folder of the result.
        arguments: The command line; None for that of the process.
        interrupt_message: What is kept of an interrupted run.
    """
    parser = argparse.ArgumentParser(prog=name, description=start.__doc__)
    parser.add_argument("--recipe", required=True, help="a packaged recipe's name, or your .yaml")
    parser.add_argument("--dry-run", action="store_true", help="plan and probe, but write nothing")
    action = argparse.BooleanOptionalAction
    parser.add_argument(
        "--resume",
        action=action,
        help="whether to go on from a checkpoint; default: as the recipe says",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = vars(parser.parse_intermixed_args(arguments))
    # Models and packages are local: no library may query the hub.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        start(options.pop("recipe"), options.pop("overrides"), **options)
    except KeyboardInterrupt:
        sys.stderr.write(f"gen-msa{_rank_label()}: stopped; {interrupt_message}\n")
        sys.exit(INTERRUPTED)
    except BaseException as e:
        error = as_user_error(e)
        if error is None:
            raise
        sys.stderr.write(f"gen-msa{_rank_label()}: {error}\n")
        sys.exit(error.exit_code)


def resume_override(resume: bool | None) -> list[str]:
    """Return `--resume` or `--no-resume` as a recipe override; none if it was not given."""
    return [] if resume is None else [f"resume={str(resume).lower()}"]


@contextmanager
def require_extra(extra: str, packages: Collection[str]) -> Iterator[None]:
    """Turn the lack of a package inside the block into an error that names the extra to install.

    Args:
        extra: The extra of this package.
        packages: What it installs.

    Yields:
        None; the imports are made inside the block.

    Raises:
        MissingExtra: If one of `packages` cannot be imported.
    """
    try:
        yield
    except ModuleNotFoundError as e:
        package = (e.name or "").partition(".")[0]
        if package not in packages:
            raise
        raise MissingExtra(package, extra) from None


def _rank_label() -> str:
    """Return which of several processes is reporting."""
    is_distributed = os.environ.get("WORLD_SIZE", "1") != "1"
    return f" (process {os.environ.get('RANK', '?')})" if is_distributed else ""
