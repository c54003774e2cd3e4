"""`gen-msa merge`: join the parts of a sharded job, or several answer caches."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from gen_msa.cli import _options
from gen_msa.cli._options import count_noun, print_lines
from gen_msa.errors import UserError
from gen_msa.jsonl import check_writable

PartsArgument = Annotated[
    list[str],
    typer.Argument(metavar="PART...", help="The .part files of all shards; or .cache files."),
]
OutOption = Annotated[str, typer.Option("--out", "-o", help="Output: .jsonl, .parquet or .cache.")]


def merge(parts: PartsArgument, out: OutOption, strict: _options.StrictOption = False) -> None:
    """Join the parts of all shards into the files of one unsharded job.

    gen-msa merge opinions.*-of-4.part -o opinions.jsonl

    gen-msa merge opinions.*.cache -o all.cache       (for --reuse-cache with other shards)
    """
    location = _options.OutputLocation.of(out)
    local_path = location.local_path or Path(out)
    with tempfile.TemporaryDirectory(prefix="gen-msa-") as scratch:
        files = _options.fetch_files(parts, Path(scratch))
        if local_path.suffix == ".cache":
            code = _merge_caches(files, local_path)
            location.send(local_path)
            sys.exit(code)
        code = _merge_parts(files, local_path, strict=strict)
    location.send_all()
    sys.exit(code)


def _merge_caches(files: list[Path], out: Path) -> int:
    from gen_msa.answer_cache import merge_caches

    check_writable(out)
    if out in files:
        raise UserError(f"{out} is one of the inputs", hint="give another file: -o")
    count = merge_caches(files, out)
    print(f"{count_noun(count, 'answer')} in {out}", file=sys.stderr)
    return 0


def _merge_parts(files: list[Path], out: Path, *, strict: bool) -> int:
    from rich.console import Console

    from gen_msa.annotation import AnnotateSettings
    from gen_msa.annotation import merge_shards as join
    from gen_msa.cli._job import result_lines, to_output_format
    from gen_msa.cli.annotate import finish_filtered
    from gen_msa.cli.explain import lines_path

    if out.suffix not in (".jsonl", ".parquet"):
        raise UserError(f"-o {out}: the output must end in .jsonl, .parquet or .cache")
    check_writable(out, *(out.with_suffix(s) for s in _options.SIDECAR_SUFFIXES))
    console, lines = Console(stderr=True), lines_path(out, out.parent)
    outcome, settings = join(files, out, lines=lines)
    to_output_format(lines, out)
    if strict:
        settings = settings.model_copy(update={"max_error_rate": 0.0})
    print_lines(console, [f"note: {text}" for text in outcome.notes.texts])
    if isinstance(settings, AnnotateSettings):
        code = finish_filtered(console, outcome, settings, out)
    else:
        print_lines(console, result_lines(outcome.counts, settings, outcome, [out]))
        code = 3 if outcome.exceeds_error_rate(settings) else 0
    return 3 if strict and outcome.notes.texts else code
