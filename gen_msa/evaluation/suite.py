"""A suite: everything that decides an evaluation, as frozen settings filled from one YAML.

One data set, one split, whose opinions count as right, the readers that are held against them, and
the families of figures. Knows nothing of how readers read.

    load("twitter2015", ["data=twitter2015:test", "replicates=2000"])
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from gen_msa import resources, settings
from gen_msa.errors import did_you_mean
from gen_msa.evaluation.cost import CostSettings
from gen_msa.evaluation.llm_judge.judge import JudgeSettings
from gen_msa.evaluation.probes import probes
from gen_msa.evaluation.scores import SLICES as KNOWN_SLICES
from gen_msa.metrics import metrics
from gen_msa.settings import Settings

DEFAULT_METRICS = (
    "labels",
    "calibration",
    "aspect_mention",
    "quote_fidelity",
    "text_stats",
    "copying",
)
DEFAULT_SLICES = ("aspects", "length", "negation", "image")


class ModelEntry(Settings):
    """One reader of a suite."""

    model: str
    """As on the command line: `builtin`, `file:opinions.jsonl#teacher`, `student:DIR`, …"""
    name: str = ""
    """As shown; empty: `reader`. Never `gold`, and in one line."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of the reader (`prompt`, `cues`, `backend`, …); over the suite's own `settings`."""
    seeds: tuple[str, ...] = ()
    """The same reader trained with other seeds, named as `reader` is: its figures are then the mean
    over all, with every seed's beside it."""

    @property
    def display_name(self) -> str:
        """The name in tables and files."""
        return self.name or self.model

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if (
            self.display_name == "gold"
            or not self.display_name.isprintable()
            or not self.display_name.strip()
        ):
            raise ValueError(
                f"a model cannot be called {self.display_name!r}: give it another `name`"
            )
        for seed in self.seeds:
            if (self.model, *self.seeds).count(seed) > 1:
                raise ValueError(f"{seed!r} occurs twice among the seeds of {self.display_name!r}")
        return self


class Suite(Settings):
    """One evaluation."""

    title: str = ""
    data: str
    """`DATASET:SPLIT` or a file of examples. This and every other path is relative to the folder
    in which the command is run."""
    reference: str = "gold"
    """Whose opinions count as right: `gold`, or any reader's name in the data."""
    limit: int | None = Field(default=None, ge=1)
    """Only the first rows; printed as what it is."""
    models: tuple[ModelEntry, ...] = ()
    """None: everyone in the data but `against`."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Given to every reader."""
    metrics: tuple[str | dict[str, dict[str, Any]], ...] = DEFAULT_METRICS
    """Families by name, or `{rouge: {language: zh}}` with options."""
    headline: tuple[str, ...] = ("labels.accuracy", "labels.macro_f1")
    """What readers are compared by, as `family.figure`; each pair gets a paired test."""
    slices: tuple[str, ...] = DEFAULT_SLICES
    published: tuple[str, ...] = ()
    """Names in `eval/published/`: papers' printed figures, shown beside ours."""
    probes: tuple[str | dict[str, dict[str, Any]], ...] = ()
    """What is changed to see whether an explanation or a cue matters; each reads posts again."""
    probe_limit: int = Field(default=200, ge=1)
    """Posts that a probe reads."""
    judge: JudgeSettings | None = None
    """A model that marks explanations; another one than made them."""
    judge_limit: int = Field(default=200, ge=1)
    """Rows of each reader that it marks, spread evenly over the data."""
    human_ratings: Path | None = None
    """JSONL of people's marks; without, every figure of the judge is `uncalibrated`."""
    cost: CostSettings = CostSettings()
    """What reading costs, measured apart from the figures; off until `cost.posts` is given."""
    image_text: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """What stands for a picture, for grounding: `{caption: {files: [captions.json]}}`, the options
    of the cue source `context`."""
    cluster: Literal["image", "post"] = "image"
    """Rows that share it are drawn together: they are not independent."""
    correction: Literal["holm", "bh"] = "holm"
    replicates: int = Field(default=10_000, ge=100)
    seed: int = 0

    @field_validator("models")
    @classmethod
    def _check_unique_names(cls, models: tuple[ModelEntry, ...]) -> tuple[ModelEntry, ...]:
        # Some file systems do not distinguish `A` and `a`.
        names = [e.display_name.casefold() for e in models]
        for entry in models:
            if names.count(entry.display_name.casefold()) > 1:
                raise ValueError(
                    f"two models are called {entry.display_name!r}: give one of them a `name`"
                )
        return models

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        requested = (
            ("metric", self.metric_options(), metrics.names()),
            ("slice", self.slices, KNOWN_SLICES),
            ("probe", self.probe_options(), probes.names()),
        )
        for kind, names, available in requested:
            for name in names:
                if name not in available:
                    raise ValueError(f"no {kind} named {name!r}; {did_you_mean(name, available)}")
        for metric in self.headline:
            family = metric.partition(".")[0]
            if family not in self.metric_options():
                raise ValueError(f"headline {metric}: the family {family!r} is not in metrics")
        return self

    def metric_options(self) -> dict[str, dict[str, Any]]:
        """Every family with its options, in the order given."""
        return _options_by_name(self.metrics)

    def probe_options(self) -> dict[str, dict[str, Any]]:
        """Every probe with its options, in the order given."""
        return _options_by_name(self.probes)


def _options_by_name(parts: Iterable[str | dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for part in parts:
        out |= {part: {}} if isinstance(part, str) else part
    return out


def load(name: str, overrides: Iterable[str] = ()) -> Suite:
    """The suite called `name` in `eval/suites/`, or the user's own YAML, with overrides on top.

    Raises `UserError` naming an unknown key and the nearest known one.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        path = resources.find_resource("eval/suites", name, ".yaml")
    return settings.load(Suite, path, overrides)


def names() -> list[str]:
    """Every shipped suite."""
    return resources.resource_names("eval/suites", ".yaml")
