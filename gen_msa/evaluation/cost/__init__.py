"""The cost of prediction: throughput, CPU time, size, memory, and energy where it can be measured.

Measured separately from the metrics: each model is loaded by a process of its own with one thread,
and predicts the same few posts repeatedly without any cache, in turn with the other models. A model
that fails is reported with its error.

    targets = [CostTarget("echo", PredictorSettings(model="echo"))]
    costs = measure_costs(CostSettings(posts=64), targets, posts, media_root)
    costs["echo"].metrics["posts_per_second"].value
"""

from gen_msa.evaluation.cost.measure import CostSettings, CostTarget, measure_costs, sample_evenly
from gen_msa.evaluation.cost.workers import BenchmarkResult, BenchmarkTask, Measurement, benchmark

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
