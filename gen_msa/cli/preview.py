"""`gen-msa preview`: what would be asked, before anything is spent."""

from typing import TYPE_CHECKING, Annotated

import typer

from gen_msa.cli import _options

if TYPE_CHECKING:
    from rich.console import Console

    from gen_msa.predictors import RequestPreview

RowsOption = Annotated[int, typer.Option("--rows", "-n", min=1, help="How many posts.")]


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
) -> None:
    """Show for the first posts the picture budget, the cues, the whole prompt and its tokens."""
    job_options = (posts, text, image, aspect, overall, model, prompt, config, format, media_root)
    _preview(_options.JobOptions(*job_options), rows)


def _preview(options: _options.JobOptions, rows: int) -> None:
    from itertools import islice

    from rich.console import Console

    from gen_msa import predictors
    from gen_msa.types import Rejected

    settings, source = options.settings(), options.source()
    console = Console()
    posts = []
    for row in islice(source.rows(), rows):
        if isinstance(row, Rejected):
            console.print(f"row {row.line} would be set aside: {row.reason}", markup=False)
        else:
            posts.append(row.post)
    if posts:
        for request in predictors.make(settings.predictor_settings(), source.media_root).preview(
            posts
        ):
            show_request(console, request)


def show_request(console: "Console", request: "RequestPreview") -> None:
    """Print one question: its budget and cues, then every word of it."""
    from rich.panel import Panel
    from rich.text import Text

    title = f"post {request.post.id} · {request.aspect or 'which aspects, or the post as a whole'}"
    tokens = "only the server knows" if request.tokens is None else f"{request.tokens:,} tokens"
    if request.image_tokens:
        tokens += f", {request.image_tokens:,} of them for pictures"
    header_lines = [
        *(f"picture: {p}" for p in request.images or ("none",)),
        *(f"cue {slot}: {cue}" for slot, cue in request.cues.items()),
        *(f"{k}: {v}" for k, v in request.provenance.items()),
        f"prompt: {tokens}",
    ]
    console.print(Text("\n".join(header_lines), style="dim"))
    console.print(Panel(Text(request.prompt), title=Text(title), title_align="left"))
