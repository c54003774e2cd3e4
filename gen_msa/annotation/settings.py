"""Settings of a job: the predictor, how the job runs, and the filters of answers.

JobSettings(model="echo", chunk=64)
AnnotateSettings(model="http:…", prompt="teacher/rationale", filters={"length": {}})
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from gen_msa.backends import Prices
from gen_msa.data.formats import LabelMap
from gen_msa.data.formats.base import FIELDS
from gen_msa.errors import UserError, did_you_mean
from gen_msa.predictors import PredictorSettings
from gen_msa.spans import fold

MAX_SHARDS = 1_000
"""Maximum number of shards: `merge` opens all parts at once; also the limit of Slurm arrays."""


@dataclass(frozen=True)
class Shard:
    """Shard `index` (from 1) of `n_shards`; the default is the complete source."""

    index: int = 1
    n_shards: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `i/n`.

        Raises:
            UserError: Not `i/n` with 1 <= i <= n <= `MAX_SHARDS`.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip(), re.ASCII)
        index, n_shards = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= index <= n_shards <= MAX_SHARDS:
            raise UserError(
                f"--shard {text}: not a shard", hint="write i/n with 1 <= i <= n, e.g. 2/4"
            )
        return cls(index, n_shards)

    def owns(self, chunk: int) -> bool:
        """Return whether chunk number `chunk`, from 0, belongs to this shard."""
        return chunk % self.n_shards == self.index - 1

    def path_beside(self, out: Path, suffix: str) -> Path:
        """Return the path of a file of this shard beside `out`, e.g. its part or answer cache.

        Args:
            out: The output of the complete job.
            suffix: E.g. `.part`.
        """
        return out.with_name(f"{out.stem}.{self.index}-of-{self.n_shards}{suffix}")

    def __str__(self) -> str:
        return f"{self.index}/{self.n_shards}"


RUN_SETTINGS = frozenset({"workers", "engine", "address", "gpus", "max_error_rate"})
"""Settings that decide how a job runs and do not change its output."""


class JobSettings(PredictorSettings):
    """The settings of a predictor, and how the job runs."""

    workers: int = Field(default=1, ge=1, le=256)
    """Number of processes, each with its own model."""
    engine: Literal["local", "ray"] = "local"
    """`local`: processes on this machine; `ray`: workers of a Ray cluster."""
    address: str = ""
    """Address of a running Ray cluster (HOST:PORT or auto); empty: start one on this machine."""
    gpus: float = Field(default=0.0, ge=0.0, le=64.0)
    """GPUs that Ray reserves for each worker; 0.5 lets two workers share one."""
    chunk: int = Field(default=64, ge=1, le=10_000)
    """Posts per call of the predictor."""
    limit: int | None = Field(default=None, ge=1)
    """Read only the first rows of the source."""
    fixed_aspects: tuple[str, ...] = ()
    """The aspects to ask about in every post, in place of its own (`--aspect` with a file). One
    that a post does not contain has no offset, and is asked about with the whole post in view.
    """
    label_map: LabelMap = Field(default_factory=dict)
    """Spelling of a gold label in the file -> `positive`, `neutral` or `negative`. Common ones
    (POS, -1, 正面) are known.
    """
    columns: dict[str, str] = Field(default_factory=dict)
    """Name of a field (`text`, `image`, …) -> name of its column or key in the file (`--map`)."""
    sep: str = ""
    """The character between the cells of a table; empty: detected."""
    encoding: str = ""
    """The encoding of a text file; empty: detected."""
    sheet: str = ""
    """The sheet of a workbook; empty: the first."""
    prices: Prices | None = None
    """Prices of a paid model."""
    max_tokens_total: int | None = Field(default=None, ge=1)
    """Tokens of prompts and answers (http) that a run may use; before it would pass them, it stops.
    Run again with a higher limit, it goes on.
    """
    max_cost: float | None = Field(default=None, gt=0.0)
    """The same for the cost by `prices`."""
    max_error_rate: float = Field(default=0.001, ge=0.0, le=1.0)
    """Share of rejected or unanswered rows (0 to 1) above which the exit code is 3."""

    def reading(self) -> dict[str, Any]:
        """Return the arguments of `open_examples` that say how a file is read."""
        names = ("label_map", "columns", "sep", "encoding", "sheet")
        return {name: getattr(self, name) for name in names}

    @field_validator("columns")
    @classmethod
    def _check_columns(cls, columns: dict[str, str]) -> dict[str, str]:
        for name in columns:
            if name not in FIELDS:
                raise ValueError(f"no field {name!r}: {did_you_mean(name, FIELDS)}")
        return columns

    @field_validator("fixed_aspects")
    @classmethod
    def _check_fixed_aspects(cls, terms: tuple[str, ...]) -> tuple[str, ...]:
        terms = tuple(t.strip() for t in terms)
        folded = [fold(t) for t in terms]
        for term, key in zip(terms, folded, strict=True):
            if not key:
                raise ValueError("an aspect is empty; --overall asks about each post as a whole")
            if folded.count(key) > 1:
                raise ValueError(f"the aspect {term!r} is listed twice")
        return terms

    @model_validator(mode="after")
    def _check_aspect_mode(self) -> Self:
        if self.fixed_aspects and self.aspects not in ("auto", "given"):
            raise ValueError(f"fixed_aspects and aspects={self.aspects} exclude each other")
        return self

    @model_validator(mode="after")
    def _check_ray_settings(self) -> Self:
        if self.engine != "ray" and (self.address or self.gpus):
            raise ValueError("address and gpus need engine=ray (--engine ray)")
        return self

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.max_cost is None and self.max_tokens_total is None:
            return self
        if self.max_cost is not None and self.prices is None:
            raise ValueError("max_cost needs prices={input: …, output: …}, per million tokens")
        if self.engine == "ray" or self.workers > 1:
            raise ValueError(
                "max_cost and max_tokens_total are held by one process: leave workers and engine "
                "out; backend.batch_size is the number of requests at once"
            )
        return self

    def predictor_settings(self) -> PredictorSettings:
        """Return the settings of the predictor alone; unset ones stay unset.

        Raises:
            UserError: There is a limit on cost, and the model has no bill.
        """
        explicit = self.model_fields_set & PredictorSettings.model_fields.keys()
        values = {name: getattr(self, name) for name in explicit}
        if self.max_cost is not None or self.max_tokens_total is not None:
            if not self.model.startswith("http:"):
                raise UserError(
                    f"{self.model} has no bill: max_cost and max_tokens_total are for http: models",
                    hint="leave them out",
                )
            limits = {"max_cost": self.max_cost, "max_tokens_total": self.max_tokens_total}
            values["backend"] = self.backend.model_copy(update={**limits, "prices": self.prices})
        return PredictorSettings.model_validate(values)


class AnnotateSettings(JobSettings):
    """A job whose answers must pass filters. Rejected questions are retried, then left out."""

    filters: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Filter -> its options, applied in this order. `{}`: keep every complete answer."""
    retries: int = Field(default=3, ge=0, le=20)
    """How often a question is repeated after a rejected answer, each time with another seed. A
    predictor that cannot sample (a recorded file, a greedy model) is asked once.
    """
    seed: int = 0
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    """Temperature of the first answer."""
    retry_temperature: float = Field(default=0.7, gt=0.0, le=2.0)
    """Temperature of retries and votes."""
    guided: bool = False
    """Give the teacher the gold label and ask only for the rationale; train splits only."""
    label_in_context: bool = False
    """The same for `teacher/context`, whose context then reveals the label. Off by default,
    because the context of a new post cannot know its label.
    """

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
        """Whether the teacher is given gold labels."""
        return self.guided or self.label_in_context
