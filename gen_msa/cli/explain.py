"""`gen-msa explain`: what posts say about each thing they mention."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from gen_msa.cli import _asked
from gen_msa.errors import UserError

Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Write opinions here: .jsonl or .parquet.")
]
Csv = Annotated[Path | None, typer.Option("--csv", help="Also write a CSV, one row an opinion.")]
Html = Annotated[Path | None, typer.Option("--html", help="Also write a report to look at.")]
MaxBad = Annotated[float | None, typer.Option("--max-bad", help="Share of bad rows before exit 3.")]
Strict = Annotated[bool, typer.Option("--strict", help="One bad row is enough: --max-bad 0.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Forget earlier answers; keep none.")]


def explain(
    posts: _asked.Posts = None,
    text: _asked.Text = "",
    image: _asked.Image = None,
    aspect: _asked.AspectTerm = None,
    overall: _asked.Overall = False,
    reader: _asked.ReaderName = None,
    prompt: _asked.PromptName = None,
    out: Out = None,
    csv: Csv = None,
    html: Html = None,
    max_bad: MaxBad = None,
    strict: Strict = False,
    fresh: Fresh = False,
    config: _asked.Config = None,
    format: _asked.FormatName = None,
    media_root: _asked.MediaRoot = None,
) -> None:
    """Say what each post feels about each aspect, why, and in which words.

    gen-msa explain posts.jsonl -o opinions.jsonl --html report.html workers=2

    gen-msa explain --text "Great screen, awful battery" --aspect screen --aspect battery
    """
    shared = (posts, text, image, aspect, overall, reader, prompt, config, format, media_root)
    asked = _asked.Asked(*shared)
    files = _Files(out, csv, html, fresh)
    sys.exit(_run(asked, files, 0.0 if strict else max_bad))


class _Files(NamedTuple):
    out: Path | None
    csv: Path | None
    html: Path | None
    fresh: bool


def _run(asked: _asked.Asked, files: _Files, max_bad: float | None) -> int:
    settings, source = asked.settings(max_bad=max_bad), asked.source()
    out = files.out
    if out is not None and out.suffix not in (".jsonl", ".parquet"):
        raise UserError(f"-o {out}: write .jsonl or .parquet", mend="use --csv or --html for those")
    from gen_msa.cli._job import run

    with tempfile.TemporaryDirectory(prefix="gen-msa-") as scratch:
        return run(
            source,
            settings,
            lines=_lines_path(out, Path(scratch)),
            out=out,
            csv=files.csv,
            html=files.html,
            ledger=None if out is None or files.fresh else out.with_suffix(".ledger"),
        )


def _lines_path(out: Path | None, scratch: Path) -> Path:
    """Where the job's JSONL goes: the output itself, or a place on the way to it."""
    if out is None:
        return scratch / "opinions.jsonl"
    return out if out.suffix == ".jsonl" else out.with_suffix(".jsonl")
