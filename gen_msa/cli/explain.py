"""`gen-msa explain`: what posts say about each thing they mention."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from gen_msa.cli import _asked, _remote
from gen_msa.errors import UserError

Out = Annotated[
    str | None, typer.Option("--out", "-o", help="Write opinions here: .jsonl or .parquet.")
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
    shard: _asked.ShardOf = None,
    known: _asked.Known = None,
    engine: _asked.Engine = None,
    address: _asked.Address = None,
) -> None:
    """Say what each post feels about each aspect, why, and in which words.

    gen-msa explain posts.jsonl -o opinions.jsonl --html report.html workers=2

    gen-msa explain --text "Great screen, awful battery" --aspect screen --aspect battery
    """
    shared = (posts, text, image, aspect, overall, reader, prompt, config, format, media_root)
    asked = _asked.Asked(*shared)
    files = _Files(_remote.Place.of(out), csv, html, fresh)
    spread = _asked.Spread(shard, known, engine, address)
    sys.exit(_run(asked, files, spread, 0.0 if strict else max_bad))


class _Files(NamedTuple):
    place: _remote.Place
    csv: Path | None
    html: Path | None
    fresh: bool


def _run(asked: _asked.Asked, files: _Files, spread: _asked.Spread, max_bad: float | None) -> int:
    out, known = files.place.here, spread.known or ()
    settings = asked.settings(max_bad=max_bad, **spread.settings())
    source = asked.source(out, files.csv, files.html)
    if out is not None and out.suffix not in (".jsonl", ".parquet"):
        raise UserError(f"-o {out}: write .jsonl or .parquet", mend="use --csv or --html for those")
    shard = spread.share(kept=out is not None and not (known and files.fresh))
    from gen_msa.cli._job import run, run_shard

    if shard and out:
        if files.csv or files.html:
            raise UserError("--csv and --html are of whole jobs", mend="merge the shards first")
        ledger = None if files.fresh else shard.beside(out, ".ledger")
        code = run_shard(source, settings, shard, out, ledger=ledger, known=known)
        files.place.send(shard.beside(out, ".part"))
        return code
    ledger = None if out is None or files.fresh else out.with_suffix(".ledger")
    with tempfile.TemporaryDirectory(prefix="gen-msa-") as scratch:
        lines = lines_path(out, Path(scratch))
        code = run(
            source,
            settings,
            lines=lines,
            out=out,
            csv=files.csv,
            html=files.html,
            ledger=ledger,
            known=known,
        )
    files.place.send_all()
    return code


def lines_path(out: Path | None, scratch: Path) -> Path:
    """Where the job's JSONL goes: the output itself, or a file on the way to it that is ours alone.

    That lies beside the output, where there is room for it.
    """
    if out is None:
        return scratch / "opinions.jsonl"
    return out if out.suffix == ".jsonl" else out.with_name(f".{out.name}.lines")
