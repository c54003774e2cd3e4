"""The command that starts vLLM's server, and the environment it runs in. Starts nothing.

Closed unless opened: no code of a model's own, no redirect, no host a picture may come from (vLLM
takes an empty list for *any* host, so a name that no host can have stands for none), no file but
below the media root, no adapter loaded on a client's word. The key is in the environment, never
among the arguments, which every user of a machine can read. Knows nothing of health or probes.

    command(settings, find(settings), token).shown()
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gen_msa.backends.vllm_engine import SEED, WATCHED
from gen_msa.errors import UserError
from gen_msa.serving.settings import TOKEN
from gen_msa.serving.vllm.finding import Found
from gen_msa.serving.vllm.settings import VllmSettings

MODULE = "vllm.entrypoints.openai.api_server"
KEY = "VLLM_API_KEY"
NOWHERE = "none.invalid"
"""A host that never exists (RFC 2606)."""
CLOSED = {
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
class Command:
    """Arguments and environment; the secret is kept apart and never shown."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    """Variables that are set for the server, its key left out."""
    secret: str = field(default="", repr=False)
    secret_from: str = TOKEN
    """The variable, `TOKEN` or `KEY`, or the file, the secret came from."""

    def whole(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """The environment the server gets: that of this process, with ours over it."""
        kept = {k: v for k, v in inherited.items() if k not in (KEY, TOKEN)}
        return kept | dict(self.environment) | ({KEY: self.secret} if self.secret else {})

    def shown(self) -> str:
        """The command for a shell; it says where the key is to be had, not what it is."""
        variables = [f"{k}={shlex.quote(v)}" for k, v in self.environment.items()]
        whole = " \\\n  ".join(["env", *variables, shlex.join(self.argv)])
        if not self.secret:
            return whole
        # vLLM takes an empty key for none, and would let everybody in: `:?` stops the shell.
        if self.secret_from in (TOKEN, KEY):
            return f'{KEY}="${{{self.secret_from}:?}}" {whole}'
        read = f'{KEY}="$(cat {shlex.quote(self.secret_from)})"'
        return f'{read} && export {KEY}="${{{KEY}:?}}" && \\\n{whole}'


def command(
    settings: VllmSettings, found: Found, token: str = "", token_from: str = TOKEN
) -> Command:
    """The command for what was found. Raises `UserError` for a media root that cannot be one."""
    argv = [settings.python, "-m", MODULE]
    for name, value in _flags(settings, found).items():
        argv += [name, *([value] if isinstance(value, str) else value)]
    return Command(tuple(argv), CLOSED, token, token_from)


def _flags(settings: VllmSettings, found: Found) -> dict[str, str | list[str]]:
    flags: dict[str, str | list[str]] = {
        "--model": str(found.model),
        "--served-model-name": found.names[-1],
        "--host": settings.host.strip("[]"),
        "--port": str(settings.port),
        "--load-format": "safetensors",
        "--no-trust-remote-code": [],
        "--seed": str(SEED),
        "--dtype": settings.backend.dtype,
        # Without it a model's generation_config.json would change answers behind our back.
        "--generation-config": "vllm",
        "--max-logprobs": str(WATCHED),
        "--limit-mm-per-prompt": _json({"image": settings.pictures_per_prompt}),
        # Of the engine, not of a request: without it JSON can go on with blanks to the limit.
        "--structured-outputs-config": _json(
            {"backend": "xgrammar", "disable_any_whitespace": True}
        ),
        "--allowed-media-domains": list(settings.picture.allowed_hosts) or [NOWHERE],
        "--disable-uvicorn-access-log": [],
        "--enable-prompt-tokens-details": [],
    }
    share = settings.backend.share_prefix
    flags["--enable-prefix-caching" if share else "--no-enable-prefix-caching"] = []
    if settings.media_root:
        flags["--allowed-local-media-path"] = str(_root(settings.media_root))
    return flags | _sizes(settings, found) | _lora(found)


def _sizes(settings: VllmSettings, found: Found) -> dict[str, str | list[str]]:
    """Numbers that vLLM has its own names for: those that were given, or follow from training."""
    given = {
        "--max-model-len": settings.max_model_len or found.length,
        "--tensor-parallel-size": settings.tensor_parallel_size,
        "--gpu-memory-utilization": settings.gpu_memory_utilization,
        "--max-num-seqs": settings.max_num_seqs,
        "--max-num-batched-tokens": settings.max_num_batched_tokens,
        "--block-size": settings.block_size,
    }
    return {name: str(value) for name, value in given.items() if value is not None}


def _lora(found: Found) -> dict[str, str | list[str]]:
    if found.adapter is None:
        return {}
    worn = {"name": found.names[0], "path": str(found.adapter), "base_model_name": found.names[-1]}
    return {
        "--enable-lora": [],
        "--max-loras": "1",
        "--max-lora-rank": str(found.rank),
        "--lora-modules": _json(worn),
    }


def _root(folder: str) -> Path:
    root = Path(folder).expanduser().resolve()
    if not root.is_dir() or root == Path(root.anchor):
        mend = "name the folder that holds the pictures, and nothing else"
        raise UserError(f"media_root={folder} is no folder for pictures", mend=mend)
    return root


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, separators=(",", ":"))
