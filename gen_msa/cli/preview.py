"""`gen-msa preview`: what would be asked, before anything is spent."""

from typing import TYPE_CHECKING, Annotated

import typer

from gen_msa.cli import _asked

if TYPE_CHECKING:
    from rich.console import Console

    from gen_msa.readers import Shown

Rows = Annotated[int, typer.Option("--rows", "-n", min=1, help="How many posts.")]


def preview(
    posts: _asked.Posts = None,
    text: _asked.Text = "",
    image: _asked.Image = None,
    aspect: _asked.AspectTerm = None,
    overall: _asked.Overall = False,
    reader: _asked.ReaderName = None,
    prompt: _asked.PromptName = None,
    rows: Rows = 3,
    config: _asked.Config = None,
    format: _asked.FormatName = None,
    media_root: _asked.MediaRoot = None,
) -> None:
    """Show for the first posts the picture budget, the cues, the whole prompt and its tokens."""
    shared = (posts, text, image, aspect, overall, reader, prompt, config, format, media_root)
    _preview(_asked.Asked(*shared), rows)


def _preview(asked: _asked.Asked, rows: int) -> None:
    from itertools import islice

    from rich.console import Console

    from gen_msa import readers
    from gen_msa.types import Rejected

    settings, source = asked.settings(), asked.source()
    console = Console()
    some = []
    for row in islice(source.rows(), rows):
        if isinstance(row, Rejected):
            console.print(f"row {row.line} would be set aside: {row.reason}", markup=False)
        else:
            some.append(row.post)
    if some:
        for question in readers.make(settings.of_reader(), source.media_root).preview(some):
            show(console, question)


def show(console: "Console", q: "Shown") -> None:
    """Print one question: its budget and cues, then every word of it."""
    from rich.panel import Panel
    from rich.text import Text

    about = f"post {q.post.id} · {q.aspect or 'which aspects, or the post as a whole'}"
    tokens = "only the server knows" if q.tokens is None else f"{q.tokens:,} tokens"
    if q.picture_tokens:
        tokens += f", {q.picture_tokens:,} of them for pictures"
    facts = [
        *(f"picture: {p}" for p in q.pictures or ("none",)),
        *(f"cue {slot}: {cue}" for slot, cue in q.cues.items()),
        *(f"{k}: {v}" for k, v in q.how.items()),
        f"prompt: {tokens}",
    ]
    console.print(Text("\n".join(facts), style="dim"))
    console.print(Panel(Text(q.prompt), title=Text(about), title_align="left"))
