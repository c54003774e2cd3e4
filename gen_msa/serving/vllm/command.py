"""Resolve the model that vLLM serves, and build its server's command and environment.

Everything is closed by default: no remote code of a model, no redirects, no host that images may
come from (vLLM takes an empty list for *any* host, so a name that no host can have is given), no
file outside the media root, no adapter loaded at a client's request. The key goes into the
environment, never among the arguments, which every user of a machine can read.

    build_command(settings, resolve_model(settings), token).shell_text()
"""

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from gen_msa import prompting
from gen_msa.backends.vllm import MAX_LOGPROBS, SEED, lora_rank
from gen_msa.errors import MissingExtra, UserError, user_errors
from gen_msa.predictors import PredictorSettings
from gen_msa.predictors.prompted import apply_training_settings
from gen_msa.serving.settings import TOKEN_ENV_VAR
from gen_msa.settings import parse_yaml

if TYPE_CHECKING:
    from gen_msa.backends.hf.adapters import AdapterMetadata


# Settings of vLLM's server: the model and how it is asked, where it listens, how it runs.

VLLM_PREFIX = "vllm:"


class VllmSettings(PredictorSettings):
    """Settings of a model and of the vLLM server for it."""

    host: str = "127.0.0.1"
    """Any other than this machine alone needs a token."""
    port: int = Field(default=8000, ge=1, le=65535)
    token_file: str = ""
    """File with the bearer token. Empty: the environment variable GEN_MSA_TOKEN."""
    name: str = Field(default="", pattern=r"^[A-Za-z0-9][\w./-]*$|^$", max_length=200)
    """Name of the adapter (of the model, where there is none) for clients; its folder's name if not
    given."""
    media_root: str = ""
    """Folder below which clients may name images by `file://`; empty for none."""
    images_per_prompt: int = Field(default=4, ge=0, le=64)
    max_model_len: int | None = Field(default=None, gt=0)
    """Tokens of prompt and answer. None: the length trained with plus an answer; vLLM's own choice
    for a model without that record."""
    start_seconds: float = Field(default=1800.0, gt=0)
    """Time in which the server must be ready: loading a large model takes long."""
    stop_seconds: float = Field(default=30.0, gt=0)
    """Time in which the server must stop; then it is killed."""
    ready_file: str = ""
    """File that exists while the server is ready and its adapter verified, for a container's
    readiness probe: vLLM itself answers before that."""
    python: str = sys.executable
    """Python interpreter of the environment that has vLLM."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    max_num_seqs: int | None = Field(default=None, ge=1)
    max_num_batched_tokens: int | None = Field(default=None, ge=1)
    block_size: int | None = Field(default=None, ge=1)
    """Tokens per block of the prefix cache: shared prefixes are cached in whole blocks."""

    @field_validator("model")
    @classmethod
    def _check_is_vllm(cls, model: str) -> str:
        if not model.startswith(VLLM_PREFIX) or model == VLLM_PREFIX:
            raise ValueError("write vllm:MODEL or vllm:MODEL@ADAPTER")
        return model

    @model_validator(mode="after")
    def _check_hosts_have_no_port(self) -> Self:
        for host in self.image.allowed_hosts:
            if not host or ":" in host or "/" in host or host != host.strip():
                raise ValueError(f"image.allowed_hosts: vLLM takes host names only, not {host!r}")
        return self

    def predictor_settings(self) -> PredictorSettings:
        """Return only what decides the model's answers; fields that were not given stay unset."""
        explicit_fields = self.model_fields_set & PredictorSettings.model_fields.keys()
        return PredictorSettings.model_validate(
            {name: getattr(self, name) for name in explicit_fields}
        )


# Resolve what is to be served: folders, the adapter's own settings, and contradictions.


_PROMPT_FIELDS = ("prompt", "aspects_prompt", "overall_prompt", "reask_prompt")


class ResolvedModel(NamedTuple):
    """A model and perhaps its adapter, checked as far as files allow."""

    model: Path
    adapter: Path | None
    rank: int
    """vLLM's `max_lora_rank`; 0 without an adapter."""
    names: tuple[str, ...]
    """Model names for clients: the adapter, then its base; or the model without an adapter."""
    max_model_len: int | None
    """`max_model_len` that follows from how it was trained; None if unknown."""
    metadata: "AdapterMetadata | None"
    notes: dict[str, str]
    """What could not be checked, by name."""


def resolve_model(settings: VllmSettings) -> ResolvedModel:
    """Check everything that can be checked before the server starts.

    Args:
        settings: Settings of the server; `settings.model` is `vllm:MODEL[@ADAPTER]`.

    Returns:
        The model, and what follows from how it was trained.

    Raises:
        UserError: A check failed.
        MissingExtra: torch or transformers is not installed.
    """
    try:
        from gen_msa.backends.hf import remote_probe, weights
    except ModuleNotFoundError as e:
        if (e.name or "").partition(".")[0] not in ("torch", "transformers"):
            raise
        raise MissingExtra(str(e.name), "vllm") from None
    target = settings.model.removeprefix(VLLM_PREFIX)
    model, adapter = weights.resolve_target(target)
    weights.check_folder(model, "model")
    _check_model_folder(model)
    if adapter is not None:
        weights.check_folder(adapter, "adapter")
    metadata, notes = remote_probe.load_verified_metadata(model, adapter)
    predictor_settings = apply_training_settings(settings.predictor_settings(), metadata)
    return ResolvedModel(
        model=model,
        adapter=adapter,
        rank=lora_rank(adapter) if adapter else 0,
        names=_served_names(settings, target, adapter),
        max_model_len=_max_model_len(adapter or model, model, predictor_settings),
        metadata=metadata,
        notes=notes,
    )


def _check_model_folder(folder: Path) -> None:
    """Refuse a folder without a model; vLLM would fail after minutes, and `--print` never."""
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise UserError(
            f"{folder} is not a model folder: it has no config.json or no *.safetensors",
            hint="name a folder that transformers saved; serve a student with "
            "`gen-msa serve student:DIR`",
        )


def _served_names(settings: VllmSettings, target: str, adapter: Path | None) -> tuple[str, ...]:
    """Return the names for clients: names of folders, never their paths."""
    base_reference = target.rpartition("@")[0] if adapter else target
    base = (
        Path(base_reference).expanduser().resolve().name
        if Path(base_reference).expanduser().is_dir()
        else base_reference
    )
    if adapter is None:
        return (settings.name or base,)
    adapter_name = settings.name or adapter.name
    if adapter_name == base:
        hint = "name the adapter for clients, e.g. name=mabsa"
        raise UserError(f"adapter and base have the same name {base!r}", hint=hint)
    return adapter_name, base


def _max_model_len(folder: Path, model: Path, predictor_settings: PredictorSettings) -> int | None:
    """Return the tokens of the longest trained row and an answer; at most the model's limit."""
    trained_length = _yaml_int(folder / "recipe.yaml", "max_length")
    if trained_length is None:
        return None
    prompts = [
        prompting.load_prompt(getattr(predictor_settings, n))
        for n in _PROMPT_FIELDS
        if getattr(predictor_settings, n)
    ]
    answer_length = predictor_settings.max_new_tokens or max(
        (p.max_new_tokens for p in prompts), default=0
    )
    max_positions = _max_positions(model)
    return (
        min(trained_length + answer_length, max_positions)
        if max_positions
        else trained_length + answer_length
    )


def _yaml_int(path: Path, name: str) -> int | None:
    if not path.exists():
        return None
    with user_errors(path, hint="give max_model_len=…"):
        tree = parse_yaml(path.read_text(encoding="utf-8"))
    value = tree.get(name) if isinstance(tree, dict) else None
    return value if isinstance(value, int) and value > 0 else None


def _max_positions(model: Path) -> int | None:
    with user_errors(model / "config.json", hint="download the model again"):
        config: dict[str, Any] = dict(json.loads((model / "config.json").read_bytes()))
    for part in (config.get("text_config"), config):
        value = part.get("max_position_embeddings") if isinstance(part, dict) else None
        if isinstance(value, int) and value > 0:
            return value
    return None


SERVER_MODULE = "vllm.entrypoints.openai.api_server"
VLLM_KEY_ENV_VAR = "VLLM_API_KEY"
UNREACHABLE_HOST = "none.invalid"
"""A host that never exists (RFC 2606)."""
HARDENED_ENVIRONMENT = {
    "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0",
    "VLLM_ALLOW_INSECURE_SERIALIZATION": "0",
    "VLLM_SERVER_DEV_MODE": "0",
    "VLLM_DEBUG_LOG_API_SERVER_RESPONSE": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}


@dataclass(frozen=True)
class ServerCommand:
    """Arguments and environment; the secret is kept apart and never printed."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    """Variables that are set for the server, without its key."""
    secret: str = field(default="", repr=False)
    secret_from: str = TOKEN_ENV_VAR
    """Environment variable or file that the secret came from."""

    def full_environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return `inherited` with this command's variables, and the key, on top."""
        passed_on = {
            k: v for k, v in inherited.items() if k not in (VLLM_KEY_ENV_VAR, TOKEN_ENV_VAR)
        }
        return (
            passed_on
            | dict(self.environment)
            | ({VLLM_KEY_ENV_VAR: self.secret} if self.secret else {})
        )

    def shell_text(self) -> str:
        """Return the command for a shell; it reads the key from its source."""
        variables = [f"{k}={shlex.quote(v)}" for k, v in self.environment.items()]
        command_line = " \\\n  ".join(["env", *variables, shlex.join(self.argv)])
        if not self.secret:
            return command_line
        # vLLM takes an empty key for none, and would let everybody in: `:?` stops the shell.
        if self.secret_from in (TOKEN_ENV_VAR, VLLM_KEY_ENV_VAR):
            return f'{VLLM_KEY_ENV_VAR}="${{{self.secret_from}:?}}" {command_line}'
        read_key = f'{VLLM_KEY_ENV_VAR}="$(cat {shlex.quote(self.secret_from)})"'
        check_key = f'export {VLLM_KEY_ENV_VAR}="${{{VLLM_KEY_ENV_VAR}:?}}"'
        return f"{read_key} && {check_key} && \\\n{command_line}"


def build_command(
    settings: VllmSettings,
    resolved: ResolvedModel,
    token: str = "",
    token_from: str = TOKEN_ENV_VAR,
) -> ServerCommand:
    """Build the command for a resolved model.

    Args:
        settings: Settings of the server.
        resolved: Model and adapter.
        token: The key that clients must send; "" for none.
        token_from: Environment variable or file that the key comes from, for `shell_text`.

    Returns:
        The command.

    Raises:
        UserError: `media_root` is not a folder that can be opened to clients.
    """
    argv = [settings.python, "-m", SERVER_MODULE]
    for name, value in _flags(settings, resolved).items():
        argv += [name, *([value] if isinstance(value, str) else value)]
    return ServerCommand(tuple(argv), HARDENED_ENVIRONMENT, token, token_from)


def _flags(settings: VllmSettings, resolved: ResolvedModel) -> dict[str, str | list[str]]:
    flags: dict[str, str | list[str]] = {
        "--model": str(resolved.model),
        "--served-model-name": resolved.names[-1],
        "--host": settings.host.strip("[]"),
        "--port": str(settings.port),
        "--load-format": "safetensors",
        "--no-trust-remote-code": [],
        "--seed": str(SEED),
        "--dtype": settings.backend.dtype,
        # Without it a model's generation_config.json would change the answers unnoticed.
        "--generation-config": "vllm",
        "--max-logprobs": str(MAX_LOGPROBS),
        "--limit-mm-per-prompt": _json({"image": settings.images_per_prompt}),
        # A setting of the engine, not of a request: without it JSON may end in endless blanks.
        "--structured-outputs-config": _json(
            {"backend": "xgrammar", "disable_any_whitespace": True}
        ),
        "--allowed-media-domains": list(settings.image.allowed_hosts) or [UNREACHABLE_HOST],
        "--disable-uvicorn-access-log": [],
        "--enable-prompt-tokens-details": [],
    }
    share = settings.backend.share_prefix
    flags["--enable-prefix-caching" if share else "--no-enable-prefix-caching"] = []
    if settings.media_root:
        flags["--allowed-local-media-path"] = str(_media_root(settings.media_root))
    return flags | _sizes(settings, resolved) | _lora(resolved)


def _sizes(settings: VllmSettings, resolved: ResolvedModel) -> dict[str, str | list[str]]:
    """Return the flags whose values were given or follow from training."""
    sizes = {
        "--max-model-len": settings.max_model_len or resolved.max_model_len,
        "--tensor-parallel-size": settings.tensor_parallel_size,
        "--gpu-memory-utilization": settings.gpu_memory_utilization,
        "--max-num-seqs": settings.max_num_seqs,
        "--max-num-batched-tokens": settings.max_num_batched_tokens,
        "--block-size": settings.block_size,
    }
    return {name: str(value) for name, value in sizes.items() if value is not None}


def _lora(resolved: ResolvedModel) -> dict[str, str | list[str]]:
    if resolved.adapter is None:
        return {}
    adapter_module = {
        "name": resolved.names[0],
        "path": str(resolved.adapter),
        "base_model_name": resolved.names[-1],
    }
    return {
        "--enable-lora": [],
        "--max-loras": "1",
        "--max-lora-rank": str(resolved.rank),
        "--lora-modules": _json(adapter_module),
    }


def _media_root(folder: str) -> Path:
    root = Path(folder).expanduser().resolve()
    if not root.is_dir() or root == Path(root.anchor):
        hint = "name a folder that holds images and nothing else"
        raise UserError(f"media_root={folder} is not a folder for images", hint=hint)
    return root


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, separators=(",", ":"))
