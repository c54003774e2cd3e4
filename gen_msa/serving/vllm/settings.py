"""What decides how vLLM is started: the reader as it is to be asked, where it listens, how it runs.

Knows no flag and no folder. vLLM's own names stand for what vLLM owns; there is no door for further
flags, so that none can switch on what is off here.

    load(VllmSettings, overrides=["reader=vllm:models/tiny@runs/mabsa", "port=8001"])
"""

import sys
from typing import Self

from pydantic import Field, field_validator, model_validator

from gen_msa.predictors import PredictorSettings

VLLM_PREFIX = "vllm:"


class VllmSettings(PredictorSettings):
    """A reader's settings and how vLLM serves its model."""

    host: str = "127.0.0.1"
    """Any other than this machine alone demands a token."""
    port: int = Field(default=8000, ge=1, le=65535)
    token_file: str = ""
    """A file with the bearer token; without one the variable GEN_MSA_TOKEN is asked."""
    name: str = Field(default="", pattern=r"^[A-Za-z0-9][\w./-]*$|^$", max_length=200)
    """What clients call the adapter (or the model, where there is none); its folder's name if not
    given."""
    media_root: str = ""
    """Folder below which clients may name pictures by `file://`; empty for none."""
    images_per_prompt: int = Field(default=4, ge=0, le=64)
    max_model_len: int | None = Field(default=None, gt=0)
    """Tokens of prompt and answer. None: what the adapter was trained with and room for an answer;
    for a bare model vLLM's own choice."""
    start_seconds: float = Field(default=1800.0, gt=0)
    """In which the server must be ready: reading a large model takes long."""
    stop_seconds: float = Field(default=30.0, gt=0)
    """In which it must end, once told to; then it is killed."""
    ready_file: str = ""
    """A file that is there while the server is ready and its adapter proven: what a container's
    probe can look for, since vLLM answers before that."""
    python: str = sys.executable
    """The interpreter of the environment that has vLLM."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    max_num_seqs: int | None = Field(default=None, ge=1)
    max_num_batched_tokens: int | None = Field(default=None, ge=1)
    block_size: int | None = Field(default=None, ge=1)
    """Tokens of a block of the prefix cache: what prompts share is kept in whole blocks."""

    @field_validator("model")
    @classmethod
    def _check_is_vllm(cls, model: str) -> str:
        if not model.startswith(VLLM_PREFIX) or model == VLLM_PREFIX:
            raise ValueError("write vllm:MODEL or vllm:MODEL@ADAPTER")
        return model

    @model_validator(mode="after")
    def _hosts_without_ports(self) -> Self:
        for host in self.image.allowed_hosts:
            if not host or ":" in host or "/" in host or host != host.strip():
                raise ValueError(f"picture.allowed_hosts: vLLM knows hosts alone, not {host!r}")
        return self

    def predictor_settings(self) -> PredictorSettings:
        """Only what decides the reader's answers; what was not given stays not given."""
        explicit_fields = self.model_fields_set & PredictorSettings.model_fields.keys()
        return PredictorSettings.model_validate(
            {name: getattr(self, name) for name in explicit_fields}
        )
