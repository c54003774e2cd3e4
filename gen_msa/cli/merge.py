"""`gen-msa merge`: the parts of a sharded job as one, or several ledgers as one."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from gen_msa.cli import _remote
from gen_msa.errors import UserError

Parts = Annotated[
    list[str],
    typer.Argument(metavar="PART...", help="What --shard wrote, of every shard; or .ledger files."),
]
Out = Annotated[str, typer.Option("--out", "-o", help="Write here: .jsonl, .parquet or .ledger.")]


def merge(parts: Parts, out: Out) -> None:
    """Join the parts of all shards into the files that one job would have written.

    gen-msa merge opinions.*-of-4.part -o opinions.jsonl

    gen-msa merge opinions.*.ledger -o all.ledger       answers for --known of another sharding
    """
    place = _remote.Place.of(out)
    here = place.here or Path(out)
    with tempfile.TemporaryDirectory(prefix="gen-msa-") as scratch:
        files = _remote.fetched(parts, Path(scratch))
        if here.suffix == ".ledger":
            code = _ledgers(files, here)
            place.send(here)
            sys.exit(code)
        code = _parts(files, here)
    place.send_all()
    sys.exit(code)


def _ledgers(files: list[Path], out: Path) -> int:
    from gen_msa.ledger import gather

    if out in files:
        raise UserError(f"{out} is one of the ledgers", mend="name another file: -o")
    count = gather(files, out)
    print(f"{count:,} answers in {out}", file=sys.stderr)
    return 0


def _parts(files: list[Path], out: Path) -> int:
    from rich.console import Console

    from gen_msa.annotating import AnnotateSettings
    from gen_msa.annotating import merge as join
    from gen_msa.cli._job import as_asked, said
    from gen_msa.cli.annotate import finished
    from gen_msa.cli.explain import lines_path

    if out.suffix not in (".jsonl", ".parquet"):
        raise UserError(f"-o {out}: write .jsonl or .parquet, or .ledger of ledgers")
    err, lines = Console(stderr=True), lines_path(out, out.parent)
    outcome, settings = join(files, out, lines=lines)
    as_asked(lines, out)
    if isinstance(settings, AnnotateSettings):
        return finished(err, outcome, settings, out)
    for line in said(outcome.counts, settings, outcome, [out]):
        err.print(line, highlight=False, soft_wrap=True)
    return 3 if outcome.too_bad(settings) else 0
