"""Data types of an evaluation: the content of `results.json`, from which reports are drawn.

Frozen pydantic models, like `types`. Every metric value has its n, its interval and the method of
the interval; seeds, prompt hashes and data hashes are recorded with the system.

    EvaluationResult.model_validate_json(Path("results.json").read_text()).systems[0].metrics
"""

from typing import Literal

from pydantic import Field, JsonValue

from gen_msa.types import FrozenModel


class MetricValue(FrozenModel):
    """One value of a metric."""

    value: float | None
    """None: undefined, and `note` says why. Never NaN."""
    n: int = Field(ge=0)
    """Number of rows behind the value."""
    low: float | None = None
    high: float | None = None
    """95 % interval; for a cost the minimum and maximum over its repeats."""
    method: str = ""
    """Method of the interval, e.g. `cluster bootstrap, 10000 replicates, seed 0`."""
    note: str = ""
    seeds: tuple[float, ...] = ()
    """The same metric for each seed, where a system was trained more than once."""


class MetricDefinition(FrozenModel):
    """What a metric means and how it is printed."""

    family: str
    name: str
    about: str
    unit: str
    better: Literal["high", "low", ""]
    signature: str = ""


class SliceMetrics(FrozenModel):
    """Metrics of one slice of the rows (`aspects` = `2`, `negation` = `yes`)."""

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
    """Mean probability of the chosen class."""
    accuracy: float


class RunCost(FrozenModel):
    """Cost of producing the predictions that were evaluated."""

    posts: int
    seconds: float | None = None
    """Wall clock; None when the answers were stored already."""
    cpu_seconds: float | None = None
    machine: str = ""


class CostBenchmark(FrozenModel):
    """Measured cost of prediction.

    A process of its own with one thread predicts a few posts without any cache, in repeats that
    alternate with those of the other systems.
    """

    metrics: dict[str, MetricValue] = Field(default_factory=dict)
    """Measured metrics; n counts posts. Empty: `note` says why.

    `posts_per_second` (wall clock), `cpu_seconds` and `joules` of 1,000 posts, `megabytes` on disk
    and `peak_megabytes` of memory.
    """
    fingerprint_sha256: str = ""
    """Hash of the fingerprint of the system that was timed; equal to that of the evaluated one."""
    posts: int = 0
    """Posts of one repeat."""
    repeats: int = 0
    """Number of repeats."""
    machine: str = ""
    note: str = ""


class UnparsedAnswer(FrozenModel):
    """An answer that could not be parsed, unabridged."""

    post: str
    aspect: str
    status: str
    raw: str


class SystemResult(FrozenModel):
    """One system compared with the reference."""

    name: str
    """Display name; unique within the result."""
    model: str
    """Value of `--model`."""
    fingerprint: dict[str, JsonValue] = Field(default_factory=dict)
    """Fingerprint of the predictor: prompt@hash, settings, seed, revision."""
    rows: int
    """Gold opinions."""
    posts: int
    n_missing: int = 0
    """Gold opinions for which the system gave no prediction; each counts as wrong."""
    n_spurious: int = 0
    """Predictions for aspects that the reference does not have."""
    metrics: dict[str, dict[str, MetricValue]]
    """Family -> metric -> value."""
    confusion: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Gold polarity -> predicted polarity (or `unparsed`) -> rows."""
    calibration: tuple[CalibrationBin, ...] = ()
    slices: tuple[SliceMetrics, ...] = ()
    unparsed: tuple[UnparsedAnswer, ...] = ()
    cost: RunCost | None = None
    cost_benchmark: CostBenchmark | None = None
    """None: the suite did not ask for it, or this is another seed of a system."""
    notes: tuple[str, ...] = ()
    """Remarks for the reader of the report, e.g. metric families that are missing and why."""


class PairedComparison(FrozenModel):
    """System `a` minus system `b` on the same rows."""

    a: str
    b: str
    family: str
    metric: str
    difference: float
    low: float
    high: float
    method: str
    test: str
    """`McNemar, exact`, `permutation, 10000, seed 0`, …"""
    p: float
    p_adjusted: float
    adjustment: str
    """`Holm over 6` or `Benjamini-Hochberg over 6`."""


class PublishedResult(FrozenModel):
    """Metrics printed in a paper, for comparison with ours."""

    name: str
    metrics: dict[str, float]
    """`family.metric` -> value, in our unit (shares in 0..1)."""
    source: str
    """Citation, with table number."""
    protocol: str
    """What makes it comparable or not: split, backbone, which F1, seeds, choice of checkpoint."""


class SelectedRow(FrozenModel):
    """One row shown in the report."""

    post: str
    aspect: str
    start: int | None = None
    reason: str = ""
    """Why this row is shown."""


class EvaluationResult(FrozenModel):
    """One data set, one split, any number of systems."""

    title: str
    data: str
    """`twitter2015:test`, or a file."""
    data_sha256: str
    reference: str
    """Annotator whose opinions count as right: `gold`, or another annotator's name."""
    posts: int
    rows: int
    clusters: int
    clustered_by: str
    rejected: int = 0
    """Rows of the source that could not be read from disk."""
    seed: int
    replicates: int
    version: str
    """Version of gen_msa."""
    definitions: tuple[MetricDefinition, ...]
    systems: tuple[SystemResult, ...]
    comparisons: tuple[PairedComparison, ...] = ()
    published: tuple[PublishedResult, ...] = ()
    disagreements: tuple[SelectedRow, ...] = ()
    best: tuple[SelectedRow, ...] = ()
    worst: tuple[SelectedRow, ...] = ()
    """Explanations: the best first in `best`, the worst first in `worst`."""
    probes: dict[str, dict[str, dict[str, MetricValue]]] = Field(default_factory=dict)
    """System -> probe -> metric: how outputs change when the input is changed."""
    notes: tuple[str, ...] = ()
