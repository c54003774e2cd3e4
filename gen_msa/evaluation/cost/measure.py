"""The cost of each model as metrics: medians over repeats, with minimum and maximum.

Recorded predictions have no cost of their own. Neither does a model whose fingerprint differs from
the one whose predictions were evaluated.

    targets = [CostTarget("echo", PredictorSettings(model="echo"))]
    measure_costs(CostSettings(posts=64), targets, posts, media_root)
"""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import Field, JsonValue

from gen_msa import builtin, predictors
from gen_msa.answer_cache import hash_key
from gen_msa.encoders.vision.packaged import EFFICIENTNET_LITE0
from gen_msa.errors import UserError
from gen_msa.evaluation.cost.workers import BenchmarkResult, BenchmarkTask, Measurement, benchmark
from gen_msa.predictors import PredictorSettings
from gen_msa.results import CostBenchmark, MetricValue
from gen_msa.settings import Settings
from gen_msa.types import Post

SHIPPED_SUFFIXES = frozenset(
    {".safetensors", ".onnx", ".json", ".jinja", ".model", ".txt", ".yaml"}
)
"""Files of a model folder that are needed to predict; checkpoints, notes and other formats are not.
"""


def model_size_mb(model: str) -> float | None:
    """Return the size of a model with its adapter, without Python libraries, in MB (1e6 bytes).

    Args:
        model: The model as named on the command line.

    Returns:
        The size; None where it cannot be known.
    """
    name, _, target = model.partition(":")
    if name == "echo":
        return 0.0
    if name == "student":
        return _total_mb([Path(target), *_vision_encoder_files(Path(target))])
    if name == "builtin":
        adapter = Path(target) if target else builtin.adapter_folder()
        return _total_mb([*builtin.weights_files(), *([adapter] if adapter else [])])
    if name in ("transformers", "vllm"):
        from gen_msa.backends.hf.weights import resolve_target

        return _total_mb([part for part in resolve_target(target) if part])
    return None


def _total_mb(parts: Sequence[Path]) -> float:
    """Return the size of files, and of the needed files of folders."""
    files = [f for p in parts for f in (p.iterdir() if p.is_dir() else [p])]
    return sum(f.stat().st_size for f in files if f.suffix in SHIPPED_SUFFIXES or f in parts) / 1e6


def _vision_encoder_files(student: Path) -> list[Path]:
    """Return the vision encoder of a student that uses images."""
    modalities = json.loads((student / "student.json").read_bytes())["width"]
    return [EFFICIENTNET_LITE0.require()] if "image" in modalities else []


T = TypeVar("T")

RECORDED_PREDICTORS = frozenset({"recorded", "majority", "minigpt4"})
"""Predictors that repeat recorded answers."""
OUT_OF_PROCESS = {"http": "the model runs on its server", "vllm": "the engine is another process"}
"""Predictors whose work is done in another process: CPU time and memory of their own say nothing.
"""
NO_ENERGY = "not measurable here"


class CostSettings(Settings):
    """How cost is measured."""

    posts: int = Field(default=0, ge=0)
    """Posts per repeat, spread evenly over the data; 0: nothing is measured."""
    repeats: int = Field(default=5, ge=5)
    """Repeats of each model, after one for warm-up."""
    interleaved: bool = True
    """All models are in memory at once and take turns; if false, one model after the other."""


@dataclass(frozen=True)
class CostTarget:
    """A model whose cost is measured."""

    name: str
    settings: PredictorSettings
    fingerprint: Mapping[str, JsonValue] | None = None
    """Fingerprint of the predictor that was evaluated; None: any."""
    chunk: int = 64
    """Posts per call of `predict`."""


def measure_costs(
    settings: CostSettings, targets: Sequence[CostTarget], posts: Sequence[Post], media_root: Path
) -> dict[str, CostBenchmark]:
    """Measure what prediction costs for every target.

    Args:
        settings: Number of posts and repeats.
        targets: The models.
        posts: The posts to sample from.
        media_root: Folder that relative media paths start from.

    Returns:
        Name -> its metrics, or a note that says why there are none.
    """
    sampled_posts = sample_evenly(posts, settings.posts)
    timed_targets = [target for target in targets if not _is_recorded(target)]
    tasks = [
        BenchmarkTask(
            target.name,
            partial(predictors.make, target.settings, media_root),
            sampled_posts,
            target.chunk,
        )
        for target in timed_targets
    ]
    results = benchmark(tasks, settings.repeats, interleaved=settings.interleaved)
    return {
        target.name: summarize_cost(results[target.name], target)
        if target.name in results
        else CostBenchmark(note="recorded answers: no cost of their own")
        for target in targets
    }


def sample_evenly(items: Sequence[T], max_items: int) -> list[T]:
    """Return items that are evenly spread over all items.

    Args:
        items: All items.
        max_items: Maximum number of items.
    """
    n = min(max_items, len(items))
    return [items[i * len(items) // n] for i in range(n)]


def summarize_cost(result: BenchmarkResult, target: CostTarget) -> CostBenchmark:
    """Turn the measurements of a model into metrics.

    Args:
        result: The measurements.
        target: The model they are about.

    Returns:
        The metrics, or a note that says why there are none.
    """
    if result.error or not result.measurements:
        return CostBenchmark(note=f"failed: {result.error or 'nothing was measured'}")
    if target.fingerprint is not None and hash_key(target.fingerprint) != result.fingerprint_sha256:
        reason = "the model that was loaded for timing is not the one whose answers were measured"
        return CostBenchmark(note=f"failed: {reason}", machine=result.machine)
    name = target.settings.model.partition(":")[0]
    return CostBenchmark(
        metrics=_cost_metrics(
            result.measurements, target.settings.model, OUT_OF_PROCESS.get(name, "")
        ),
        fingerprint_sha256=result.fingerprint_sha256,
        posts=result.measurements[0].n_posts,
        repeats=len(result.measurements),
        machine=result.machine,
    )


def _is_recorded(target: CostTarget) -> bool:
    return target.settings.model.partition(":")[0] in RECORDED_PREDICTORS


def _cost_metrics(
    measurements: Sequence[Measurement], model: str, out_of_process_note: str
) -> dict[str, MetricValue]:
    n = measurements[0].n_posts
    if out_of_process_note:
        cpu = memory = MetricValue(value=None, n=n, note=f"not measured: {out_of_process_note}")
    else:
        cpu = _median_value(measurements, lambda x: 1e3 * x.cpu_seconds / x.n_posts)
        memory = MetricValue(value=max(x.peak_mb for x in measurements), n=n)
    energy = MetricValue(value=None, n=n, note=NO_ENERGY)
    if all(x.joules is not None for x in measurements):
        energy = _median_value(measurements, lambda x: 1e3 * (x.joules or 0.0) / x.n_posts)
    return {
        "posts_per_second": _median_value(measurements, lambda x: x.n_posts / x.wall_seconds),
        "cpu_seconds": cpu,
        "megabytes": _size_value(model, n),
        "peak_megabytes": memory,
        "joules": energy,
    }


def _median_value(
    measurements: Sequence[Measurement], quantity: Callable[[Measurement], float]
) -> MetricValue:
    values = [quantity(x) for x in measurements]
    method = f"median, minimum and maximum of {len(measurements)} repeats"
    median = statistics.median(values)
    return MetricValue(
        value=median, n=measurements[0].n_posts, low=min(values), high=max(values), method=method
    )


def _size_value(model: str, n: int) -> MetricValue:
    try:
        size = model_size_mb(model)
    except (UserError, OSError) as e:
        return MetricValue(value=None, n=n, note=f"unknown: {e}")
    return MetricValue(value=size, n=n, note="" if size is not None else "unknown")
