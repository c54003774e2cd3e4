"""`gen-msa explain`: the sentiment of posts towards each aspect, with explanations."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from gen_msa.cli import _options, _sending
from gen_msa.cli._overwrite import OverwriteOption
from gen_msa.errors import UserError

OutOption = Annotated[
    str | None, typer.Option("--out", "-o", help="Write opinions here: .jsonl or .parquet.")
]
CsvOption = Annotated[
    Path | None, typer.Option("--csv", help="Also write a CSV, one row per opinion.")
]
XlsxOption = Annotated[
    Path | None, typer.Option("--xlsx", help="Also write a workbook, one row per opinion.")
]
HtmlOption = Annotated[Path | None, typer.Option("--html", help="Also write an HTML report.")]
NoCacheOption = Annotated[
    bool, typer.Option("--no-cache", help="Neither use nor write the answer cache.")
]


def explain(
    posts: _options.PostsArgument = None,
    text: _options.TextOption = "",
    image: _options.ImageOption = None,
    aspect: _options.AspectOption = None,
    overall: _options.OverallOption = False,
    model: _options.ModelOption = None,
    prompt: _options.PromptOption = None,
    out: OutOption = None,
    csv: CsvOption = None,
    xlsx: XlsxOption = None,
    html: HtmlOption = None,
    max_error_rate: _options.MaxErrorRateOption = None,
    strict: _options.StrictOption = False,
    overwrite: OverwriteOption = False,
    no_cache: NoCacheOption = False,
    config: _options.ConfigOption = None,
    format: _options.FormatOption = None,
    media_root: _options.MediaRootOption = None,
    columns: _options.MapOption = None,
    label_map: _options.LabelMapOption = None,
    sep: _options.SepOption = None,
    encoding: _options.EncodingOption = None,
    sheet: _options.SheetOption = None,
    pseudonymize: _options.PseudonymizeOption = None,
    shard: _options.ShardOption = None,
    reuse_cache: _options.ReuseCacheOption = None,
    engine: _options.EngineOption = None,
    address: _options.AddressOption = None,
    yes: _sending.YesOption = False,
) -> None:
    """Predict the sentiment of each post towards each aspect, with explanation and evidence.

    gen-msa explain posts.jsonl -o opinions.jsonl --html report.html workers=2

    gen-msa explain reviews.csv --aspect price --aspect "battery life" -o opinions.jsonl

    gen-msa explain --text "Great screen, awful battery" --aspect screen --aspect battery
    """
    job_options = (posts, text, image, aspect, overall, model, prompt, config, format, media_root)
    file_options = (columns, label_map, pseudonymize, overwrite, sep, encoding, sheet)
    options = _options.JobOptions(*job_options, *file_options)
    outputs = _ExplainOutputs(_options.OutputLocation.of(out), csv, xlsx, html, no_cache, yes)
    parallel = _options.ParallelOptions(shard, reuse_cache, engine, address)
    sys.exit(_run(options, outputs, parallel, 0.0 if strict else max_error_rate))


class _ExplainOutputs(NamedTuple):
    location: _options.OutputLocation
    csv: Path | None
    xlsx: Path | None
    html: Path | None
    no_cache: bool
    yes: bool


def _run(
    options: _options.JobOptions,
    outputs: _ExplainOutputs,
    parallel: _options.ParallelOptions,
    max_error_rate: float | None,
) -> int:
    out, reuse_cache = outputs.location.local_path, parallel.reuse_cache or ()
    settings = options.settings(max_error_rate=max_error_rate, **parallel.settings())
    source = options.source(settings, out, outputs.csv, outputs.xlsx, outputs.html)
    if out is not None and out.suffix not in (".jsonl", ".parquet"):
        raise UserError(
            f"-o {out}: the output must end in .jsonl or .parquet",
            hint="use --csv, --xlsx or --html for other formats",
        )
    shard = parallel.parse_shard(
        has_output=out is not None and not (reuse_cache and outputs.no_cache)
    )
    from gen_msa.cli._job import run, run_shard

    settings = _sending.confirm_job(source, settings, yes=outputs.yes)
    if shard and out:
        if outputs.csv or outputs.xlsx or outputs.html:
            raise UserError(
                "--csv, --xlsx and --html cannot be combined with --shard",
                hint="merge the shards first",
            )
        cache_path = None if outputs.no_cache else shard.path_beside(out, ".cache")
        code = run_shard(
            source, settings, shard, out, cache_path=cache_path, reuse_cache=reuse_cache
        )
        outputs.location.send(shard.path_beside(out, ".part"))
        return code
    cache_path = None if out is None or outputs.no_cache else out.with_suffix(".cache")
    with tempfile.TemporaryDirectory(prefix="gen-msa-") as scratch:
        lines = lines_path(out, Path(scratch))
        code = run(
            source,
            settings,
            lines=lines,
            out=out,
            csv=outputs.csv,
            xlsx=outputs.xlsx,
            html=outputs.html,
            cache_path=cache_path,
            reuse_cache=reuse_cache,
        )
    outputs.location.send_all()
    return code


def lines_path(out: Path | None, scratch: Path) -> Path:
    """Return where the job writes its JSONL: `out` itself, or a temporary file beside `out`.

    Args:
        out: The output, `.jsonl` or `.parquet`; None prints to the terminal.
        scratch: A temporary folder, used when there is no output file.
    """
    if out is None:
        return scratch / "opinions.jsonl"
    return out if out.suffix == ".jsonl" else out.with_name(f".{out.name}.lines")
