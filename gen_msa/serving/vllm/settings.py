"""Settings of vLLM's server: the model and how it is asked, where it listens, how it runs.

Options that vLLM defines keep vLLM's names. Other vLLM flags cannot be passed, so that none can
switch on what is off here.

    load(VllmSettings, overrides=["model=vllm:models/tiny@runs/mabsa", "port=8001"])
"""

import sys
from typing import Self

from pydantic import Field, field_validator, model_validator

from gen_msa.predictors import PredictorSettings

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
