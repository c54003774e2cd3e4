"""The settings of a job: whose answers, how the job is run, and what an answer must stand.

    JobSettings(reader="echo", chunk=64)
    AnnotateSettings(reader="http:…", prompt="teacher/rationale", gates={"naming": {}})

Knows nothing of files or of what any gate looks at.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from gen_msa.errors import UserError
from gen_msa.predictors import PredictorSettings
from gen_msa.settings import Settings

# Which rows of a source are whose, when several jobs share it.

MAX_SHARDS = 1_000
"""Shards: `merge` has all their parts open at once, and Slurm's arrays end there too."""


@dataclass(frozen=True)
class Shard:
    """Shard `index` (from 1) of `of`; the default is the whole source."""

    index: int = 1
    n_shards: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of `i/n`. Raises `UserError` unless 1 <= i <= n <= `MOST`."""
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip(), re.ASCII)
        index, n_shards = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= index <= n_shards <= MAX_SHARDS:
            raise UserError(
                f"--shard {text}: not a shard", hint="write i/n with 1 <= i <= n, e.g. 2/4"
            )
        return cls(index, n_shards)

    def owns(self, chunk: int) -> bool:
        """Whether chunk number `chunk`, from 0, is one of this shard's."""
        return chunk % self.n_shards == self.index - 1

    def path_beside(self, out: Path, suffix: str) -> Path:
        """This shard's own file beside `out`: its part, its ledger."""
        return out.with_name(f"{out.stem}.{self.index}-of-{self.n_shards}{suffix}")

    def __str__(self) -> str:
        return f"{self.index}/{self.n_shards}"


RUN_SETTINGS = frozenset({"workers", "engine", "address", "gpus", "max_error_rate"})
"""Settings that decide how a job is run, and nothing of what it writes."""


class JobSettings(PredictorSettings):
    """A reader's settings and how the job is run."""

    workers: int = Field(default=1, ge=1, le=256)
    """Processes, each with a reader of its own."""
    engine: Literal["local", "ray"] = "local"
    """Who starts them: this process, on this machine; or Ray, on a cluster's."""
    address: str = ""
    """Of a running Ray cluster: HOST:PORT or auto; empty: one of its own on this machine."""
    gpus: float = Field(default=0.0, ge=0.0, le=64.0)
    """GPUs that Ray sets apart for each reader; 0.5 lets two share one."""
    chunk: int = Field(default=64, ge=1, le=10_000)
    """Posts handed to a reader at once."""
    limit: int | None = Field(default=None, ge=1)
    """Read only the first rows of the source."""
    max_error_rate: float = Field(default=0.001, ge=0.0, le=1.0)
    """Share of rows that may be rejected or unanswered before the exit code is 3."""

    @model_validator(mode="after")
    def _check_ray_settings(self) -> Self:
        if self.engine != "ray" and (self.address or self.gpus):
            raise ValueError("address and gpus are Ray's: add engine=ray (--engine ray)")
        return self

    def predictor_settings(self) -> PredictorSettings:
        """Only what decides the reader's answers; what was not given stays not given."""
        explicit = self.model_fields_set & PredictorSettings.model_fields.keys()
        return PredictorSettings.model_validate({name: getattr(self, name) for name in explicit})


class Prices(Settings):
    """Money for a million tokens, in whatever currency you think in."""

    input: float = Field(ge=0.0)
    output: float = Field(ge=0.0)

    def cost(self, prompt_tokens: float, answer_tokens: float) -> float:
        """What so many tokens of prompts and answers cost."""
        return (prompt_tokens * self.input + answer_tokens * self.output) / 1_000_000


class AnnotateSettings(JobSettings):
    """A job whose answers must pass gates. What fails is asked again, then left out."""

    filters: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Gate -> its options, checked in this order. `{}`: only that an answer could be read whole."""
    retries: int = Field(default=3, ge=0, le=20)
    """How often a question is asked again after its answer failed, each time with another seed. A
    reader that cannot draw answers (a file, a greedy model) is asked once."""
    seed: int = 0
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    """Of the first answer."""
    retry_temperature: float = Field(default=0.7, gt=0.0, le=2.0)
    """Of the further ones."""
    guided: bool = False
    """Tell the teacher the gold label and ask for the reason only; rows of a train split alone."""
    label_in_context: bool = False
    """The same for `teacher/context`, whose words will then tell the label: off unless you mean
    it, because no context of a new post can know it."""
    prices: Prices | None = None

    @model_validator(mode="after")
    def _check_label_in_context(self) -> Self:
        is_context = self.prompt.startswith("teacher/context")
        if self.guided and is_context:
            raise ValueError("contexts that know the label need label_in_context=true, not guided")
        if self.label_in_context and not is_context:
            raise ValueError("label_in_context is for the prompt teacher/context; see guided")
        return self

    @property
    def reveals_label(self) -> bool:
        """Whether the teacher is shown gold labels."""
        return self.guided or self.label_in_context
