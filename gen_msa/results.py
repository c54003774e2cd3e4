"""The nouns of an evaluation: what `results.json` holds, and all that a report is drawn from.

Frozen pydantic models, like `types`. Every printed figure carries its n, its interval and how that
was had; seeds, prompt and data hashes stand with the reader. Knows nothing of metrics or readers.

    Result.model_validate_json(Path("results.json").read_text()).readers[0].figures["labels"]
"""

from typing import Literal

from pydantic import Field, JsonValue

from gen_msa.types import FrozenModel


class MetricValue(FrozenModel):
    """One figure."""

    value: float | None
    """None: undefined, and `note` says why. Never NaN."""
    n: int = Field(ge=0)
    """Rows that it is about."""
    low: float | None = None
    high: float | None = None
    """95 % interval; of a cost the least and the most of its laps."""
    method: str = ""
    """How the interval was had, e.g. `cluster bootstrap, 10000 replicates, seed 0`."""
    note: str = ""
    seeds: tuple[float, ...] = ()
    """The same figure of each seed, where a reader was trained more than once."""


class MetricDefinition(FrozenModel):
    """What a figure means and how it is printed."""

    family: str
    name: str
    about: str
    unit: str
    better: Literal["high", "low", ""]
    signature: str = ""


class SliceMetrics(FrozenModel):
    """The figures of one slice of the rows (`aspects` = `2`, `negation` = `yes`)."""

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
    """What the reading took whose answers were measured."""

    posts: int
    seconds: float | None = None
    """Wall clock; None when answers were on record already."""
    cpu_seconds: float | None = None
    machine: str = ""


class CostBenchmark(FrozenModel):
    """What reading costs: a few posts read afresh by a process of its own with one thread, in laps
    that take turns with the other readers'.
    """

    metrics: dict[str, MetricValue] = Field(default_factory=dict)
    """`posts_per_second` (wall clock), `cpu_seconds` and `joules` of 1,000 posts, `megabytes` to be
    shipped, `peak_megabytes` of memory; n counts posts. Empty: `note` says why."""
    fingerprint_sha256: str = ""
    """Of the `facts` of the reader that was timed: those of the one that was measured."""
    posts: int = 0
    """Of a lap."""
    laps: int = 0
    machine: str = ""
    note: str = ""


class UnparsedAnswer(FrozenModel):
    """An answer that could not be read, whole."""

    post: str
    aspect: str
    status: str
    raw: str


class SystemResult(FrozenModel):
    """One reader against gold."""

    name: str
    """As shown; unique within the result."""
    model: str
    """As it would be named on the command line."""
    fingerprint: dict[str, JsonValue] = Field(default_factory=dict)
    """Fingerprint of the reader: prompt@hash, settings, seed, revision."""
    rows: int
    """Gold opinions."""
    posts: int
    n_missing: int = 0
    """Gold opinions that the reader said nothing about; each is wrong."""
    n_spurious: int = 0
    """Opinions about aspects that gold has not."""
    metrics: dict[str, dict[str, MetricValue]]
    """Family -> figure -> value."""
    confusion: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Gold polarity -> read polarity (or `unread`) -> rows."""
    calibration: tuple[CalibrationBin, ...] = ()
    slices: tuple[SliceMetrics, ...] = ()
    unparsed: tuple[UnparsedAnswer, ...] = ()
    cost: RunCost | None = None
    cost_benchmark: CostBenchmark | None = None
    """None: the suite did not ask for it, or this is another seed of a reader."""
    notes: tuple[str, ...] = ()
    """What a reader of the report must know: families that could not be had, and why."""


class PairedComparison(FrozenModel):
    """Reader `a` minus reader `b` on the same rows."""

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
    """A paper's printed figures, beside ours."""

    name: str
    metrics: dict[str, float]
    """`family.figure` -> value, in the unit of ours (shares in 0..1)."""
    source: str
    """Citation, with table number."""
    protocol: str
    """What makes it comparable or not: split, backbone, which F1, seeds, choice of checkpoint."""


class SelectedRow(FrozenModel):
    """One row that is shown: where to find it, and what each reader made of it."""

    post: str
    aspect: str
    start: int | None = None
    reason: str = ""
    """Why this row is shown."""


class EvaluationResult(FrozenModel):
    """One data set, one split, any number of readers."""

    title: str
    data: str
    """`twitter2015:test`, or a file."""
    data_sha256: str
    reference: str
    """Whose opinions count as right: `gold`, or another reader's name."""
    posts: int
    rows: int
    clusters: int
    clustered_by: str
    rejected: int = 0
    """Rows of the source that could not be read from disk."""
    seed: int
    replicates: int
    version: str
    """Of gen_msa."""
    definitions: tuple[MetricDefinition, ...]
    systems: tuple[SystemResult, ...]
    comparisons: tuple[PairedComparison, ...] = ()
    published: tuple[PublishedResult, ...] = ()
    disagreements: tuple[SelectedRow, ...] = ()
    best: tuple[SelectedRow, ...] = ()
    worst: tuple[SelectedRow, ...] = ()
    """Explanations, best and worst first."""
    probes: dict[str, dict[str, dict[str, MetricValue]]] = Field(default_factory=dict)
    """Reader -> probe -> figure: what happens when its input is changed."""
    notes: tuple[str, ...] = ()
