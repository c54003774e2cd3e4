"""What both launchers of training are as scripts: their arguments, their exit codes, their extras.

Knows nothing of what is trained.

    run_recipe_script("gen_msa.finetuning", start, interrupt_message="whole checkpoints are kept")
"""

import argparse
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gen_msa.errors import MissingExtra, UserError

INTERRUPTED = 130


def run_recipe_script(
    name: str,
    start: Callable[..., Path],
    arguments: Sequence[str] | None = None,
    *,
    interrupt_message: str,
) -> None:
    """Call `start(recipe, overrides, dry_run=…, resume=…)` as the command line says.

    Exits with the `UserError`'s code, or 130 when interrupted, saying what `stopped` says.
    """
    parser = argparse.ArgumentParser(prog=name, description=start.__doc__)
    parser.add_argument("--recipe", required=True, help="a shipped recipe's name, or your .yaml")
    parser.add_argument("--dry-run", action="store_true", help="plan and probe; write nothing")
    action = argparse.BooleanOptionalAction
    parser.add_argument("--resume", action=action, help="default: recipe's")
    parser.add_argument(
        "--fresh", dest="resume", action="store_false", default=None, help="as --no-resume"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = vars(parser.parse_intermixed_args(arguments))
    # Models and packages lie on this machine; no library is to ask the hub behind our back.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        start(options.pop("recipe"), options.pop("overrides"), **options)
    except UserError as e:
        sys.stderr.write(f"gen-msa{_rank_label()}: {e}\n")
        sys.exit(e.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write(f"gen-msa{_rank_label()}: stopped; {interrupt_message}\n")
        sys.exit(INTERRUPTED)


@contextmanager
def require_extra(extra: str, packages: Collection[str]) -> Iterator[None]:
    """Inside, the lack of one of `packages` is a `MissingExtra` that names `extra`."""
    try:
        yield
    except ModuleNotFoundError as e:
        package = (e.name or "").partition(".")[0]
        if package not in packages:
            raise
        raise MissingExtra(package, extra) from None


def _rank_label() -> str:
    """Which of several processes is speaking."""
    is_distributed = os.environ.get("WORLD_SIZE", "1") != "1"
    return f" (process {os.environ.get('RANK', '?')})" if is_distributed else ""
