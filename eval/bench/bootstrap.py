"""What intervals cost: metrics of five systems on 1,037 rows, resampled 10,000 times by image.

    OMP_NUM_THREADS=1 python eval/bench/bootstrap.py [--runs 5] [--quick]

Made-up answers, as many rows on as many images as the test split of Twitter-2015. Every metric of
the family `labels` of every system. Peers use the same clusters and metrics: scipy.stats.bootstrap
over clusters, vectorised, one system at a time; and a plain loop that collects the rows of each
replicate, run for a tenth of the replicates and counted ten times. CPU time of one
process, interleaved; median. The three intervals of each metric are compared.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.stats

from gen_msa.metrics import Pair, metrics
from gen_msa.metrics.statistics.bootstrap import BootstrapResamples
from gen_msa.types import Opinion, Polarity, Post

ROWS, IMAGES, SYSTEMS, REPLICATES = 1037, 674, 5, 10_000
TARGET_SECONDS = 5.0
"""Seconds for all five systems."""
TENTH = 10
FAMILY = metrics["labels"]()
Limits = list[tuple[float, float]]


def synthetic_rows(rows: int, n_images: int) -> tuple[list[Any], list[str]]:
    """Return the rows of each system, and the image of each row. Seed 0."""
    rng = np.random.default_rng(0)
    classes = [*Polarity, None]
    clusters = [f"{i if i < n_images else rng.integers(n_images)}.jpg" for i in range(rows)]
    gold = [classes[i] for i in rng.choice(3, rows, p=[0.11, 0.59, 0.30])]
    system_rows = []
    for k in range(SYSTEMS):
        predictions = [g if rng.random() < 0.6 + k / 25 else classes[rng.integers(4)] for g in gold]
        pairs = [
            Pair(
                Post(id=str(i), text="made up"),
                Opinion(annotator="gold", polarity=g),
                Opinion(annotator="system", polarity=s),
                clusters[i],
            )
            for i, (g, s) in enumerate(zip(gold, predictions, strict=True))
        ]
        system_rows.append(FAMILY.row_statistics(pairs))
    return system_rows, clusters


def by_gen_msa(system_rows: list[Any], clusters: list[str], replicates: int) -> list[Limits]:
    """Resample once for all systems."""
    draws = BootstrapResamples([clusters], replicates=replicates, seed=0)
    intervals = [
        draws.intervals(rows, clusters, FAMILY.compute, corrected=False) for rows in system_rows
    ]
    return [[(i.low, i.high) for i in row_intervals.values()] for row_intervals in intervals]


def by_scipy(system_rows: list[Any], clusters: list[str], replicates: int) -> list[Limits]:
    """`scipy.stats.bootstrap` over the numbers of clusters, whose sums are looked up."""
    names, number = np.unique(clusters, return_inverse=True)
    intervals = []
    for rows in system_rows:
        sums = np.zeros((len(names), rows.shape[1]))
        np.add.at(sums, number, rows)

        def statistic(resample: Any, axis: int, sums: Any = sums) -> Any:
            resampled_sums = sums[resample.astype(int)].sum(axis=-2)
            return np.stack(list(FAMILY.compute(resampled_sums).values()))

        interval = scipy.stats.bootstrap(
            (np.arange(len(names)),),
            statistic,
            n_resamples=replicates,
            vectorized=True,
            batch=200,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        intervals.append(list(zip(interval.low.tolist(), interval.high.tolist(), strict=True)))
    return intervals


def by_loop(system_rows: list[Any], clusters: list[str], replicates: int) -> list[Limits]:
    """Resample images, collect their rows and score them; again and again."""
    rng = np.random.default_rng(0)
    names, number = np.unique(clusters, return_inverse=True)
    rows_of_cluster = [np.flatnonzero(number == i) for i in range(len(names))]
    intervals = []
    for rows in system_rows:
        replicate_metrics = []
        for _ in range(replicates):
            chosen = np.concatenate(
                [rows_of_cluster[i] for i in rng.integers(len(names), size=len(names))]
            )
            replicate_metrics.append(list(FAMILY.compute(rows[chosen].sum(axis=0)).values()))
        low, high = np.quantile(np.array(replicate_metrics), [0.025, 0.975], axis=0)
        intervals.append(list(zip(low.tolist(), high.tolist(), strict=True)))
    return intervals


def race(
    system_rows: list[Any], clusters: list[str], replicates: int
) -> tuple[dict[str, float], float]:
    """CPU seconds of each way, and the largest gap between an end of ours and of scipy's."""
    methods: dict[str, tuple[Callable[..., list[Limits]], int]] = {
        "ours": (by_gen_msa, 1),
        "scipy.stats.bootstrap": (by_scipy, 1),
        "numpy loop": (by_loop, TENTH),
    }
    seconds, ends = {}, {}
    for name, (method, part) in methods.items():
        began = time.process_time()
        ends[name] = np.array(method(system_rows, clusters, replicates // part))
        seconds[name] = (time.process_time() - began) * part
    gap = np.abs(ends["ours"] - ends["scipy.stats.bootstrap"]).max()
    return seconds, float(gap)


def main() -> None:
    """Measure interleaved, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="few rows and replicates, one run")
    options = parser.parse_args()
    rows, n_images, replicates = (60, 40, 200) if options.quick else (ROWS, IMAGES, REPLICATES)
    system_rows, clusters = synthetic_rows(rows, n_images)
    laps = [
        race(system_rows, clusters, replicates) for _ in range(1 if options.quick else options.runs)
    ]
    seconds = {name: statistics.median(lap[name] for lap, _ in laps) for name in laps[0][0]}
    report = {
        "rows": rows,
        "clusters": len(set(clusters)),
        "systems": len(system_rows),
        "figures": len(FAMILY.specs),
        "replicates": replicates,
        "runs": len(laps),
        "cpu_seconds": {name: round(s, 3) for name, s in seconds.items()},
        "faster_by": {n: round(s / seconds["ours"], 1) for n, s in seconds.items() if n != "ours"},
        "largest_gap_to_scipy": round(max(gap for _, gap in laps), 4),
        "within_5_s": seconds["ours"] <= TARGET_SECONDS,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "machine": platform.machine(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
