"""`gen-msa serve`: any reader behind HTTP."""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from gen_msa.errors import MissingExtra

_NEEDED = ("fastapi", "prometheus_client", "python_multipart", "uvicorn")

ReaderName = Annotated[
    str, typer.Argument(metavar="READER", help="student:DIR, builtin, echo: any reader.")
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings, e.g. port=8080 limits.posts=64 reasons=false.",
        show_default=False,
    ),
]
Config = Annotated[Path | None, typer.Option("--config", help="YAML of settings.")]


def serve(reader: ReaderName, settings: Settings = None, config: Config = None) -> None:
    """Answer POST /v1/explain, one reader for all; /docs describes it. SIGTERM ends it well.

    gen-msa serve student:students/text/student port=8080 limits.posts=64
    """
    from gen_msa.serving.settings import ServeSettings, token_of
    from gen_msa.settings import build, load

    given = load(ServeSettings, config, settings or ()).model_dump(exclude_unset=True)
    merged = build(ServeSettings, given | {"reader": reader}, "the command line")
    token = token_of(merged)
    try:
        for needed in _NEEDED:
            import_module(needed)
    except ModuleNotFoundError as e:
        if e.name not in _NEEDED:
            raise
        raise MissingExtra(e.name, "serve") from None
    from gen_msa.serving import running

    running.serve(merged, token)
