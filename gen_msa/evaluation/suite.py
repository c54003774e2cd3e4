"""A suite: everything that decides an evaluation, as frozen settings loaded from one YAML file.

It names one split of one data set, the reference, the models to evaluate, and the metrics.

    load("twitter2015", ["data=twitter2015:test", "replicates=2000"])
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from gen_msa import resources, settings
from gen_msa.data.formats import LabelMap
from gen_msa.errors import did_you_mean
from gen_msa.evaluation.cost import CostSettings
from gen_msa.evaluation.llm_judge.judge import JudgeSettings
from gen_msa.evaluation.probes import probes
from gen_msa.evaluation.scores import SLICES as KNOWN_SLICES
from gen_msa.metrics import metrics, reads_explanations
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
    """One model of a suite."""

    model: str
    """The model as named on the command line: `builtin`, `recorded:opinions.jsonl#teacher`,
    `student:DIR`, …"""
    name: str = ""
    """Display name; empty: `model`. Never `gold`, and on one line."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the predictor (`prompt`, `cues`, `backend`, …), on top of the suite's own
    `settings`."""
    seeds: tuple[str, ...] = ()
    """The same model trained with other seeds, named as `model` is. Its metrics are then means over
    all seeds, with the values of each seed beside them."""

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
    """`DATASET:SPLIT` or a file of examples. This and every other path is relative to the folder in
    which the command runs."""
    label_map: LabelMap = Field(default_factory=dict)
    """Spelling of a gold label in `data` -> `positive`, `neutral` or `negative`."""
    reference: str = "gold"
    """The annotator whose opinions count as correct: `gold`, or any other annotator in the data."""
    limit: int | None = Field(default=None, ge=1)
    """Only the first rows; the report says so."""
    models: tuple[ModelEntry, ...] = ()
    """None: every annotator in the data except `reference`."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of every model."""
    metrics: tuple[str | dict[str, dict[str, Any]], ...] = DEFAULT_METRICS
    """Metric families by name, or `{rouge: {language: zh}}` with options."""
    headline: tuple[str, ...] = ("labels.accuracy", "labels.macro_f1")
    """Metrics to compare systems by, as `family.metric`; each pair gets a paired test."""
    slices: tuple[str, ...] = DEFAULT_SLICES
    published: tuple[str, ...] = ()
    """Names in `eval/published/`: results of papers, shown beside ours."""
    probes: tuple[str | dict[str, dict[str, Any]], ...] = ()
    """Changes to the input that show whether an explanation or a cue matters; each predicts posts
    again."""
    probe_limit: int = Field(default=200, ge=1)
    """Posts per probe."""
    judge: JudgeSettings | None = None
    """A model that rates explanations; not one that wrote them."""
    judge_limit: int = Field(default=200, ge=1)
    """Rows of each system that the judge rates, spread evenly over the data."""
    human_ratings: Path | None = None
    """JSONL of human ratings; without them, every metric of the judge is `uncalibrated`."""
    cost: CostSettings = CostSettings()
    """The cost of prediction, measured separately; off unless `cost.posts` is given."""
    image_text: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Texts that replace the image, for grounding: `{caption: {files: [captions.json]}}`, with the
    options of the cue source `context`."""
    cluster: Literal["image", "post"] = "image"
    """Rows that share it are resampled together, because they are not independent."""
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
                raise ValueError(
                    f"headline {metric}: the family {family!r} is not in metrics; "
                    "add it there, or set headline=[FAMILY.METRIC]"
                )
        return self

    def metric_options(self) -> dict[str, dict[str, Any]]:
        """Return every metric family with its options, in the order given."""
        return _options_by_name(self.metrics)

    def reads_explanations(self) -> bool:
        """Return whether anything in this evaluation needs the explanations of the models."""
        families = (metrics[name](**options) for name, options in self.metric_options().items())
        return bool(self.judge or self.probes) or any(map(reads_explanations, families))

    def probe_options(self) -> dict[str, dict[str, Any]]:
        """Return every probe with its options, in the order given."""
        return _options_by_name(self.probes)


def _options_by_name(parts: Iterable[str | dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for part in parts:
        out |= {part: {}} if isinstance(part, str) else part
    return out


def load(name: str, overrides: Iterable[str] = ()) -> Suite:
    """Load the suite called `name` in `eval/suites/`, or the user's own YAML file.

    Args:
        name: Name of a packaged suite, or path of a YAML file.
        overrides: `key=value` pairs on top of the file.

    Returns:
        The validated suite.

    Raises:
        UserError: An unknown key; the hint has the nearest known one.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        path = resources.find_resource("eval/suites", name, ".yaml")
    return settings.load(Suite, path, overrides)


def names() -> list[str]:
    """Return the name of every packaged suite."""
    return resources.resource_names("eval/suites", ".yaml")
