"""What an evaluation produces: the models behind `results.json`, from which every report is drawn.

Frozen pydantic models, like `types`. Every metric carries its n, its interval and the method of the
interval; seeds, prompt hashes and data hashes are stored with each system.

    result = EvaluationResult.model_validate_json(Path("results.json").read_text())
    result.systems[0].metrics["labels"]["accuracy"].value
"""

from statistics import stdev
from typing import Literal

from pydantic import Field, JsonValue

from gen_msa.types import FrozenModel


class MetricValue(FrozenModel):
    """The value of one metric."""

    value: float | None
    """None when undefined; `note` then gives the reason. Never NaN."""
    n: int = Field(ge=0)
    """Number of rows behind the value."""
    low: float | None = None
    high: float | None = None
    """Ends of the 95 % interval; for a cost, the minimum and maximum over the repeats."""
    method: str = ""
    """How the interval was computed: resamples, seed, form of the limits, degrees of freedom."""
    note: str = ""
    seeds: tuple[float, ...] = ()
    """The value of each seed, where a system was trained more than once."""

    @property
    def sd(self) -> float | None:
        """The sample standard deviation over seeds; None for fewer than two."""
        if len(self.seeds) < 2:
            return None
        unit = max(map(abs, self.seeds)) or 1.0
        return stdev(x / unit for x in self.seeds) * unit


class MetricDefinition(FrozenModel):
    """What a metric means and how it is printed."""

    family: str
    name: str
    about: str
    unit: str
    better: Literal["high", "low", ""]
    signature: str = ""


class SliceMetrics(FrozenModel):
    """The metrics of one slice of the rows (`aspects` = `2`, `negation` = `yes`)."""

    slice: str
    level: str
    n: int
    metrics: dict[str, MetricValue]


class CalibrationBin(FrozenModel):
    """One bin of the calibration curve."""

    low: float
    high: float
    n: int
    confidence: float
    """Mean probability of the predicted class."""
    accuracy: float


class RunCost(FrozenModel):
    """What it cost to predict the answers that were evaluated."""

    posts: int
    seconds: float | None = None
    """Wall-clock time; None when the answers were recorded earlier."""
    cpu_seconds: float | None = None
    machine: str = ""


class CostBenchmark(FrozenModel):
    """Cost of prediction: a few posts, predicted repeatedly by a separate single-threaded process.

    The repeats of all systems are interleaved.
    """

    metrics: dict[str, MetricValue] = Field(default_factory=dict)
    """`posts_per_second` (wall clock), `cpu_seconds` and `joules` per 1,000 posts, `megabytes` on
    disk, `peak_megabytes` of memory; n counts posts. Empty when `note` says why."""
    fingerprint_sha256: str = ""
    """Hash of the fingerprint of the system that was timed; the same system whose answers were
    evaluated."""
    posts: int = 0
    """Posts per repeat."""
    repeats: int = 0
    """Number of repeats."""
    machine: str = ""
    note: str = ""


class UnparsedAnswer(FrozenModel):
    """An answer that could not be parsed, in full."""

    post: str
    aspect: str
    status: str
    raw: str


class SystemResult(FrozenModel):
    """One system compared with the reference."""

    name: str
    """Display name; unique within the result."""
    model: str
    """The model as named on the command line."""
    fingerprint: dict[str, JsonValue] = Field(default_factory=dict)
    """Fingerprint of the predictor: prompt@hash, settings, seed, revision."""
    rows: int
    """Opinions of the reference."""
    posts: int
    n_missing: int = 0
    """Reference opinions without a prediction; each counts as wrong."""
    n_spurious: int = 0
    """Predictions about aspects that the reference does not have."""
    metrics: dict[str, dict[str, MetricValue]]
    """Family -> metric -> value."""
    confusion: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Reference polarity -> predicted polarity (or `unparsed`) -> rows."""
    calibration: tuple[CalibrationBin, ...] = ()
    slices: tuple[SliceMetrics, ...] = ()
    unparsed: tuple[UnparsedAnswer, ...] = ()
    images: dict[str, int] = Field(default_factory=dict)
    """Images of the posts: `seen`, or why the system did not see them."""
    cost: RunCost | None = None
    cost_benchmark: CostBenchmark | None = None
    """None when the suite did not request it, or for a further seed of a system."""
    seeds: tuple[str, ...] = ()
    """For a row of means: the systems, one a seed, that it is about."""
    notes: tuple[str, ...] = ()
    """What the report must mention, e.g. metric families that are undefined, and why."""


class PairedComparison(FrozenModel):
    """System `a` minus system `b` on the same rows."""

    a: str
    b: str
    family: str
    metric: str
    difference: float
    low: float | None
    high: float | None
    """Ends of the 95 % interval; None where `method` says why there is none."""
    method: str
    test: str
    """`McNemar, exact`, `permutation, 10000, seed 0`, …"""
    p: float
    p_adjusted: float
    adjustment: str
    """`Holm over 6` or `Benjamini-Hochberg over 6`."""


class PublishedResult(FrozenModel):
    """Results printed in a paper, shown beside ours."""

    name: str
    metrics: dict[str, float]
    """`family.metric` -> value, in our unit (shares in 0..1)."""
    source: str
    """Citation, with the table number."""
    protocol: str
    """What makes it comparable or not: split, backbone, kind of F1, seeds, choice of checkpoint."""


class SelectedRow(FrozenModel):
    """One row that the report shows as an example."""

    post: str
    aspect: str
    start: int | None = None
    reason: str = ""
    """Why this row is shown."""


class EvaluationResult(FrozenModel):
    """The evaluation of any number of systems on one split of one data set."""

    title: str
    data: str
    """`twitter2015:test`, or a file."""
    data_sha256: str
    reference: str
    """The annotator whose opinions count as correct: `gold`, or another system."""
    posts: int
    rows: int
    clusters: int
    clustered_by: str
    rejected: int = 0
    """Rows of the source that could not be read from disk."""
    unused: dict[str, int] = Field(default_factory=dict)
    """What of the data was not used: `row`, `column`, `label`, …, and images that no system saw."""
    seed: int
    replicates: int
    version: str
    """Version of gen_msa."""
    headline: tuple[str, ...] = ()
    """Metrics that tables show and systems are compared by, as `family.metric`."""
    definitions: tuple[MetricDefinition, ...]
    systems: tuple[SystemResult, ...]
    comparisons: tuple[PairedComparison, ...] = ()
    published: tuple[PublishedResult, ...] = ()
    disagreements: tuple[SelectedRow, ...] = ()
    best: tuple[SelectedRow, ...] = ()
    worst: tuple[SelectedRow, ...] = ()
    """`best` and `worst` hold explanations, the best and the worst first."""
    probes: dict[str, dict[str, dict[str, MetricValue]]] = Field(default_factory=dict)
    """System -> probe -> metric: how the predictions react to changed inputs."""
    notes: tuple[str, ...] = ()
