"""`gen-msa preview`: what would be asked, before anything is spent."""

from typing import TYPE_CHECKING, Annotated

import typer

from gen_msa.cli import _asked

if TYPE_CHECKING:
    from rich.console import Console

    from gen_msa.readers import Shown

RowsOption = Annotated[int, typer.Option("--rows", "-n", min=1, help="How many posts.")]


def preview(
    posts: _asked.PostsArgument = None,
    text: _asked.TextOption = "",
    image: _asked.ImageOption = None,
    aspect: _asked.AspectOption = None,
    overall: _asked.OverallOption = False,
    model: _asked.ModelOption = None,
    prompt: _asked.PromptOption = None,
    rows: RowsOption = 3,
    config: _asked.ConfigOption = None,
    format: _asked.FormatOption = None,
    media_root: _asked.MediaRootOption = None,
) -> None:
    """Show for the first posts the picture budget, the cues, the whole prompt and its tokens."""
    job_options = (posts, text, image, aspect, overall, model, prompt, config, format, media_root)
    _preview(_asked.JobOptions(*job_options), rows)


def _preview(options: _asked.JobOptions, rows: int) -> None:
    from itertools import islice

    from rich.console import Console

    from gen_msa import readers
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
        for request in readers.make(settings.predictor_settings(), source.media_root).preview(posts):
            show_request(console, request)


def show_request(console: "Console", request: "Shown") -> None:
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
        *(f"{k}: {v}" for k, v in request.how.items()),
        f"prompt: {tokens}",
    ]
    console.print(Text("\n".join(header_lines), style="dim"))
    console.print(Panel(Text(request.prompt), title=Text(title), title_align="left"))
