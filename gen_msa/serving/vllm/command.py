"""Build the command that starts vLLM's server, and its environment.

Everything is closed by default: no remote code of a model, no redirects, no host that images may
come from (vLLM takes an empty list for *any* host, so a name that no host can have is given), no
file outside the media root, no adapter loaded at a client's request. The key goes into the
environment, never among the arguments, which every user of a machine can read.

    build_command(settings, resolve_model(settings), token).shell_text()
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gen_msa.backends.vllm import MAX_LOGPROBS, SEED
from gen_msa.errors import UserError
from gen_msa.serving.settings import TOKEN_ENV_VAR
from gen_msa.serving.vllm.resolve import ResolvedModel
from gen_msa.serving.vllm.settings import VllmSettings

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
