"""`gen-msa serve`: any reader behind HTTP."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gen_msa.errors import MissingExtra, UserError

if TYPE_CHECKING:
    from gen_msa.settings import Settings as AnySettings

S = TypeVar("S", bound="AnySettings")
_NEEDED = ("fastapi", "prometheus_client", "python_multipart", "uvicorn")

ReaderName = Annotated[
    str,
    typer.Argument(
        metavar="READER", help="student:DIR, builtin, echo: any reader; vllm:MODEL[@ADAPTER]."
    ),
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
Print = Annotated[
    bool, typer.Option("--print", help="vllm: show the command that would be run, and stop.")
]


def serve(
    reader: ReaderName, settings: Settings = None, config: Config = None, show: Print = False
) -> None:
    """Answer POST /v1/explain, one reader for all; /docs describes it. SIGTERM ends it well.

    gen-msa serve student:students/text/student port=8080 limits.posts=64

    vllm:MODEL[@ADAPTER] starts vLLM's OpenAI-shaped server instead, for http: readers.
    """
    if reader.startswith("vllm:"):
        _vllm(reader, settings or [], config, show=show)
        return
    if show:
        raise UserError("--print is for vllm:MODEL[@ADAPTER]", mend="leave it out")
    from gen_msa.serving.settings import ServeSettings, token_of

    merged = _merged(ServeSettings, reader, settings or [], config)
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


def _vllm(reader: str, given: list[str], config: Path | None, *, show: bool) -> None:
    from gen_msa.serving.vllm import VllmSettings

    merged = _merged(VllmSettings, reader, given, config)
    from gen_msa.serving.vllm import running

    if show:
        print(running.planned(merged)[0].shown())
    else:
        running.serve(merged)


def _merged(kind: type[S], reader: str, given: list[str], config: Path | None) -> S:
    from gen_msa.settings import load

    if any(item.partition("=")[0].strip() == "reader" for item in given):
        raise UserError(f"the reader is named twice: {reader} and reader=…", mend="name it once")
    return load(kind, config, given, reader=reader)
