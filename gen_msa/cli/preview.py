"""`gen-msa preview`: show the prompts of the first posts without running the model."""

from typing import TYPE_CHECKING, Annotated

import typer

from gen_msa.cli import _options
from gen_msa.cli._options import count_noun
from gen_msa.report.style import printable, printable_lines

if TYPE_CHECKING:
    from rich.console import Console

    from gen_msa.predictors import RequestPreview

RowsOption = Annotated[int, typer.Option("--rows", "-n", min=1, help="Number of posts.")]


def preview(
    posts: _options.PostsArgument = None,
    text: _options.TextOption = "",
    image: _options.ImageOption = None,
    aspect: _options.AspectOption = None,
    overall: _options.OverallOption = False,
    model: _options.ModelOption = None,
    prompt: _options.PromptOption = None,
    rows: RowsOption = 3,
    config: _options.ConfigOption = None,
    format: _options.FormatOption = None,
    media_root: _options.MediaRootOption = None,
    columns: _options.MapOption = None,
    label_map: _options.LabelMapOption = None,
    sep: _options.SepOption = None,
    encoding: _options.EncodingOption = None,
    sheet: _options.SheetOption = None,
    pseudonymize: _options.PseudonymizeOption = None,
) -> None:
    """Show image budget, cues, complete prompt and token count for the first posts."""
    job_options = (posts, text, image, aspect, overall, model, prompt, config, format, media_root)
    file_options = (columns, label_map, pseudonymize, False, sep, encoding, sheet)
    _preview(_options.JobOptions(*job_options, *file_options), rows)


def _preview(options: _options.JobOptions, rows: int) -> None:
    from itertools import islice

    from rich.console import Console

    from gen_msa import predictors
    from gen_msa.data.given_aspects import with_fixed_aspects
    from gen_msa.types import Rejected

    settings = options.settings()
    source = with_fixed_aspects(options.source(settings), settings.fixed_aspects)
    console = Console()
    posts = []
    for row in islice(source.rows(), rows):
        if isinstance(row, Rejected):
            console.print(
                f"row {row.line} would be rejected: {printable(row.reason)}", markup=False
            )
        else:
            posts.append(row.post)
    if posts:
        for request in predictors.make(settings.predictor_settings(), source.media_root).preview(
            posts
        ):
            show_request(console, request)


def show_request(console: "Console", request: "RequestPreview") -> None:
    """Print one request: image budget, cues and token count, then the complete prompt.

    Args:
        console: Where to print.
        request: The request.
    """
    from rich.panel import Panel
    from rich.text import Text

    title = f"post {request.post.id} · {request.aspect or 'all aspects, or the post as a whole'}"
    tokens = "unknown" if request.tokens is None else count_noun(request.tokens, "token")
    if request.image_tokens:
        tokens += f", {request.image_tokens:,} of them for images"
    header_lines = [
        *(f"image: {p}" for p in request.images or ("none",)),
        *(f"cue {slot}: {cue}" for slot, cue in request.cues.items()),
        *(f"{k}: {v}" for k, v in request.provenance.items()),
        f"prompt: {tokens}",
    ]
    console.print(Text(printable_lines("\n".join(header_lines)), style="dim"))
    console.print(
        Panel(
            Text(printable_lines(request.prompt)), title=Text(printable(title)), title_align="left"
        )
    )
