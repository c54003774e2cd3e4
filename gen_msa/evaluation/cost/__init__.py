"""What reading costs: posts a second, CPU-seconds, megabytes, memory, and energy where it is told.

Measured apart from the figures and beside them: each reader is made anew in a process of its own
with one thread, reads the same few posts without any ledger, and takes turns with the others lap by
lap. A reader that fails is named with its error. Knows nothing of accuracy.

    asked = [Asked("echo", ReaderSettings(reader="echo"))]
    costs(CostSettings(posts=64), asked, posts, root)["echo"].figures["posts_per_second"].value
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
