"""`gen-msa serve`: serve a model over HTTP."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gen_msa.cli import _sending
from gen_msa.errors import MissingExtra, UserError

if TYPE_CHECKING:
    from gen_msa.settings import Settings as AnySettings

SettingsT = TypeVar("SettingsT", bound="AnySettings")
_REQUIRED_PACKAGES = ("fastapi", "prometheus_client", "python_multipart", "uvicorn")

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="As for --model: student:DIR, builtin, …; or vllm:MODEL[@ADAPTER]."
    ),
]
SettingsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings, e.g. port=8080 limits.posts=64 explanations=false.",
        show_default=False,
    ),
]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="YAML of settings.")]
HostOption = Annotated[str | None, typer.Option("--host", help="As host=…: where to listen.")]
PortOption = Annotated[int | None, typer.Option("--port", help="As port=…; 0 for any free one.")]
PrintOption = Annotated[
    bool, typer.Option("--print", help="vllm: print the server command and exit.")
]


def serve(
    model: ModelArgument,
    settings: SettingsArgument = None,
    config: ConfigOption = None,
    print_command: PrintOption = False,
    host: HostOption = None,
    port: PortOption = None,
    yes: _sending.YesOption = False,
) -> None:
    """Serve POST /v1/explain with one model (API description: /docs). SIGTERM shuts it down.

    gen-msa serve student:students/text/student --port 8080 limits.posts=64

    vllm:MODEL[@ADAPTER] starts vLLM's OpenAI-compatible server instead, for http: models.
    """
    settings = [*(settings or []), *_address_settings(settings or [], host=host, port=port)]
    if model.startswith("vllm:"):
        _vllm(model, settings, config, print_command=print_command)
        return
    if print_command:
        raise UserError("--print works only with vllm:MODEL[@ADAPTER]", hint="leave it out")
    from gen_msa.serving.settings import ServeSettings, load_token

    serve_settings = _load_settings(ServeSettings, model, settings, config)
    token = load_token(serve_settings)
    try:
        for package in _REQUIRED_PACKAGES:
            import_module(package)
    except ModuleNotFoundError as e:
        if e.name not in _REQUIRED_PACKAGES:
            raise
        raise MissingExtra(e.name, "serve") from None
    from gen_msa.predictors.outgoing import allow_hosts
    from gen_msa.serving import server

    hosts = _sending.confirm_sending(
        [serve_settings], lambda: "every post and image of its clients", yes=yes
    )
    server.serve(allow_hosts(serve_settings, hosts), token)


def _address_settings(settings: list[str], **options: str | int | None) -> list[str]:
    """Return options as settings.

    Raises:
        UserError: An option stands among the settings, too.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for item in settings:
        if (name := item.partition("=")[0].strip()) in given:
            raise UserError(f"{name} is given twice: --{name} and {item}", hint="give it once")
    return [f"{name}={value}" for name, value in given.items()]


def _vllm(model: str, overrides: list[str], config: Path | None, *, print_command: bool) -> None:
    from gen_msa.serving.vllm import VllmSettings

    vllm_settings = _load_settings(VllmSettings, model, overrides, config)
    from gen_msa.serving.vllm import server

    if print_command:
        print(server.plan_server(vllm_settings)[0].shell_text())
    else:
        server.serve(vllm_settings)


def _load_settings(
    settings_type: type[SettingsT], model: str, overrides: list[str], config: Path | None
) -> SettingsT:
    from gen_msa.settings import load

    if any(item.partition("=")[0].strip() == "model" for item in overrides):
        raise UserError(f"the model is given twice: {model} and model=…", hint="give it once")
    return load(settings_type, config, overrides, model=model)
