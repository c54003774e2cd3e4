"""The cost of prediction: throughput, CPU time, size, memory, and energy where it can be measured.

Measured separately from the metrics: each model is loaded by a process of its own with one thread,
and predicts the same few posts repeatedly without any cache, in turn with the other models. A model
that fails is reported with its error.

    targets = [CostTarget("echo", PredictorSettings(model="echo"))]
    costs = measure_costs(CostSettings(posts=64), targets, posts, media_root)
    costs["echo"].metrics["posts_per_second"].value
"""

import json
import multiprocessing
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pydantic import Field, JsonValue

from gen_msa import __version__, builtin, predictors
from gen_msa.answer_cache import hash_key
from gen_msa.encoders.vision.base import EFFICIENTNET_LITE0
from gen_msa.errors import UserError
from gen_msa.predictors import PredictorSettings
from gen_msa.results import CostBenchmark, MetricValue
from gen_msa.settings import Settings
from gen_msa.types import Post

if TYPE_CHECKING:
    from gen_msa.predictors import Predictor


# Benchmark predictors in processes of their own, which predict the same posts in turn.

POWERCAP_DIR = Path("/sys/class/powercap")
REPORTED_LIBRARIES = ("torch", "transformers", "onnxruntime", "vllm", "spacy")
"""Libraries whose version is reported if they are loaded."""


def describe_machine() -> str:
    """Describe processor, threads, versions and, if this process uses one, the GPU in one line."""
    loaded = [(n, sys.modules[n]) for n in REPORTED_LIBRARIES if n in sys.modules]
    versions = [f"{n} {getattr(m, '__version__', '')}".strip() for n, m in loaded]
    parts = [f"{processor_name()}, 1 thread of {os.cpu_count()} cores", *_gpu_names()]
    python = f"Python {platform.python_version()}"
    return "; ".join([*parts, ", ".join([python, f"gen_msa {__version__}", *versions])])


def processor_name() -> str:
    """Return the model name of the processor, else its architecture."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        cpuinfo = ""
    match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return match[1].strip() if match else platform.processor() or platform.machine()


def _gpu_names() -> list[str]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    return [str(torch.cuda.get_device_name())]


def peak_memory_mb() -> float:
    """Return the peak memory of this process in MB (1e6 bytes).

    Raises:
        UserError: On Windows, which does not tell it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        # `ru_maxrss` starts at the peak of the parent process.
        match = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text("utf-8"), re.MULTILINE)
        if match:
            return int(match[1]) * 1024 / 1e6
    try:
        import resource
    except ModuleNotFoundError:
        raise UserError(
            "measuring cost needs the peak memory of a process, which Windows does not tell",
            hint="leave cost.posts out, or measure on Linux or macOS",
        ) from None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


@dataclass(frozen=True)
class EnergyMeter:
    """The energy counters (RAPL) of the processor packages."""

    counters: tuple[Path, ...]
    """Files with microjoules; empty when they cannot be read."""
    max_ranges: tuple[int, ...]
    """Where each counter wraps to 0, in microjoules."""

    @classmethod
    def open(cls, root: Path = POWERCAP_DIR) -> "EnergyMeter":
        """Open the counters of all packages below `root`; no counters when one cannot be read."""
        try:
            zones = [z for z in sorted(root.glob("*-rapl:*")) if _is_package_zone(z)]
            max_ranges = tuple(_read_int(z / "max_energy_range_uj") for z in zones)
            meter = cls(tuple(z / "energy_uj" for z in zones), max_ranges)
            meter.read()
        except (OSError, ValueError):
            return cls((), ())
        return meter

    def read(self) -> tuple[int, ...]:
        """Return the current values of the counters in microjoules."""
        return tuple(_read_int(c) for c in self.counters)

    def joules(self, before: Sequence[int], after: Sequence[int]) -> float | None:
        """Compute the energy between two readings, summed over packages.

        Args:
            before: The earlier reading, in microjoules.
            after: The later reading; each counter may have wrapped once.

        Returns:
            Joules; None without counters.
        """
        if not self.counters:
            return None
        steps = zip(before, after, self.max_ranges, strict=True)
        return sum((b - a) % (max_range + 1) for a, b, max_range in steps) / 1e6


def _is_package_zone(zone: Path) -> bool:
    return (zone / "name").read_text("utf-8").startswith("package")


def _read_int(path: Path) -> int:
    return int(path.read_text("utf-8"))


THREAD_ENV_VARS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
"""Environment variables that libraries read to choose their number of threads."""


class BenchmarkTask(NamedTuple):
    """A predictor to time, and the posts of one repeat."""

    name: str
    make_predictor: "Callable[[], Predictor]"
    """Called in the other process: must be picklable."""
    posts: Sequence[Post]
    chunk: int = 64
    """Posts per call of `predict`."""


class Measurement(NamedTuple):
    """One prediction of all posts."""

    n_posts: int
    n_opinions: int
    cpu_seconds: float
    """CPU time of the process, all threads together."""
    wall_seconds: float
    peak_mb: float
    """Peak memory so far, loading included, in MB (1e6 bytes)."""
    joules: float | None
    """Energy of all processor packages; None where the machine has no counters."""


class BenchmarkResult(NamedTuple):
    """The measurements of one task."""

    measurements: tuple[Measurement, ...]
    fingerprint_sha256: str
    """Hash of the predictor's fingerprint."""
    machine: str
    error: str
    """Why it failed; empty when it did not."""


def benchmark(
    tasks: Sequence[BenchmarkTask], repeats: int, *, interleaved: bool = True
) -> dict[str, BenchmarkResult]:
    """Measure every task; one that fails does not stop the others.

    Args:
        tasks: The predictors with their posts.
        repeats: Measurements of each, after one warm-up.
        interleaved: Keep all predictors in memory and alternate between them; otherwise run one
            after the other.

    Returns:
        Name -> measurements, or the error.
    """
    groups = [tasks] if interleaved else [[task] for task in tasks]
    return {name: result for group in groups for name, result in _run_group(group, repeats).items()}


def _run_group(tasks: Sequence[BenchmarkTask], repeats: int) -> dict[str, BenchmarkResult]:
    with ExitStack() as stack:
        workers = []
        for task in tasks:
            workers.append(stack.enter_context(_start_worker(task)))
            workers[-1].measure(record=False)
        for _ in range(repeats):
            for worker in workers:
                worker.measure()
        return {t.name: w.result() for t, w in zip(tasks, workers, strict=True)}


class _WorkerHandle:
    """The parent's handle of a worker process."""

    def __init__(self, pipe: Any, process: Any) -> None:
        self._pipe, self._process = pipe, process
        self._measurements: list[Measurement] = []
        self._environment = ("", "")
        self._error = ""

    def measure(self, *, record: bool = True) -> None:
        """Wait for one more measurement; do nothing after a failure."""
        if self._error:
            return
        try:
            self._pipe.send("measure")
            message = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(10)
            self._error = f"its process ended with exit code {self._process.exitcode}"
            return
        if isinstance(message, str):
            self._error = message
            return
        measurement, *environment = message
        self._environment = (environment[0], environment[1])
        self._measurements += [measurement] * record

    def result(self) -> BenchmarkResult:
        """Return the measurements so far, or the error."""
        return BenchmarkResult(tuple(self._measurements), *self._environment, self._error)

    def close(self) -> None:
        """Close the pipe and end the process."""
        self._pipe.close()
        self._process.join(5)
        self._process.kill()
        self._process.join()


@contextmanager
def _start_worker(task: BenchmarkTask) -> Iterator[_WorkerHandle]:
    """Start the process of a task; it ends with the `with` block."""
    context = multiprocessing.get_context("spawn")
    pipe, child_pipe = context.Pipe()
    with tempfile.TemporaryDirectory(prefix="gen-msa-cost-") as cache_dir:
        process = context.Process(target=_worker_main, args=(child_pipe, task, Path(cache_dir)))
        with _single_thread_env():
            process.start()
        child_pipe.close()
        worker = _WorkerHandle(pipe, process)
        try:
            yield worker
        finally:
            worker.close()


@contextmanager
def _single_thread_env() -> Iterator[None]:
    """Set the environment of a single-threaded process: libraries read it when they are loaded."""
    saved = {name: os.environ.get(name) for name in THREAD_ENV_VARS}
    os.environ.update(dict.fromkeys(THREAD_ENV_VARS, "1"))
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _worker_main(pipe: Any, task: BenchmarkTask, cache_dir: Path) -> None:
    """Load the predictor, then measure on request; an error is sent in place of a measurement."""
    try:
        predictor, meter, n_measured = task.make_predictor(), EnergyMeter.open(), 0
        while pipe.recv() == "measure":
            _isolate_feature_cache(cache_dir / str(n_measured))
            measurement = _measure(predictor, task, meter)
            pipe.send((measurement, hash_key(predictor.fingerprint()), describe_machine()))
            n_measured += 1
    except (EOFError, KeyboardInterrupt):  # the parent needs no further measurement
        return
    except UserError as e:
        pipe.send(str(e))
    except Exception as e:  # any error of the model is reported under its name
        pipe.send(f"{type(e).__name__}: {e}")


def _measure(predictor: "Predictor", task: BenchmarkTask, meter: EnergyMeter) -> Measurement:
    energy_before, cpu, wall = meter.read(), time.process_time(), time.perf_counter()
    n_opinions = 0
    for i in range(0, len(task.posts), task.chunk):
        predictions = predictor.predict(task.posts[i : i + task.chunk])
        n_opinions += sum(len(r.opinions) for r in predictions)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    joules_used = meter.joules(energy_before, meter.read())
    return Measurement(len(task.posts), n_opinions, cpu, wall, peak_memory_mb(), joules_used)


def _isolate_feature_cache(folder: Path) -> None:
    """Use an empty image feature cache: features of earlier repeats or runs are not reused."""
    modalities = sys.modules.get("gen_msa.models.inputs.modalities")
    if modalities is not None and modalities.packaged_extractor.cache_info().currsize:
        from gen_msa.disk_cache import LruDiskCache, max_cache_bytes
        from gen_msa.encoders.vision.base import cache_folder

        modalities.packaged_extractor(cache_folder()).cache = LruDiskCache(
            folder, max_cache_bytes()
        )


# The cost of each model as metrics: medians over repeats, with minimum and maximum.

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

    Raises:
        UserError: This system cannot measure.
    """
    peak_memory_mb()  # before anything is loaded: not every system tells it
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


__all__ = [
    "BenchmarkResult",
    "BenchmarkTask",
    "CostSettings",
    "CostTarget",
    "Measurement",
    "benchmark",
    "measure_costs",
    "sample_evenly",
]
