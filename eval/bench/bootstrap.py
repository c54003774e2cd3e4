"""What intervals cost: five readers' figures on 1,037 rows, drawn again 10,000 times by picture.

    OMP_NUM_THREADS=1 python eval/bench/bootstrap.py [--runs 5] [--quick]

Made-up answers, as many rows on as many pictures as the test split of Twitter-2015. Every figure of
the family `labels` of every reader. Peers do the same clusters and figures: scipy.stats.bootstrap
over clusters, vectorised, a reader at a time; and a plain loop that puts together the rows of each
replicate, which is run for a tenth of the replicates and counted ten times. CPU time of one
process, interleaved; median. The three intervals of each figure are compared.
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
from gen_msa.metrics.statistics.bootstrap import Draws
from gen_msa.types import Opinion, Polarity, Post

ROWS, PICTURES, READERS, REPLICATES = 1037, 674, 5, 10_000
MARK = 5.0
"""Seconds for all five readers."""
TENTH = 10
FAMILY = metrics["labels"]()
Limits = list[tuple[float, float]]


def made(rows: int, pictures: int) -> tuple[list[Any], list[str]]:
    """Rows of each reader, and the picture of each row. Seed 0."""
    rng = np.random.default_rng(0)
    classes = [*Polarity, None]
    clusters = [f"{i if i < pictures else rng.integers(pictures)}.jpg" for i in range(rows)]
    gold = [classes[i] for i in rng.choice(3, rows, p=[0.11, 0.59, 0.30])]
    readers = []
    for k in range(READERS):
        said = [g if rng.random() < 0.6 + k / 25 else classes[rng.integers(4)] for g in gold]
        pairs = [
            Pair(
                Post(id=str(i), text="made up"),
                Opinion(by="gold", polarity=g),
                Opinion(by="reader", polarity=s),
                clusters[i],
            )
            for i, (g, s) in enumerate(zip(gold, said, strict=True))
        ]
        readers.append(FAMILY.rows(pairs))
    return readers, clusters


def ours(readers: list[Any], clusters: list[str], replicates: int) -> list[Limits]:
    """Drawn once, for every reader."""
    draws = Draws([clusters], replicates=replicates, seed=0)
    found = [draws.intervals(rows, clusters, FAMILY.values) for rows in readers]
    return [[(i.low, i.high) for i in one.values()] for one in found]


def by_scipy(readers: list[Any], clusters: list[str], replicates: int) -> list[Limits]:
    """`scipy.stats.bootstrap` over the numbers of clusters, whose sums are looked up."""
    names, number = np.unique(clusters, return_inverse=True)
    found = []
    for rows in readers:
        sums = np.zeros((len(names), rows.shape[1]))
        np.add.at(sums, number, rows)

        def figures(drawn: Any, axis: int, sums: Any = sums) -> Any:
            of = sums[drawn.astype(int)].sum(axis=-2)
            return np.stack(list(FAMILY.values(of).values()))

        got = scipy.stats.bootstrap(
            (np.arange(len(names)),),
            figures,
            n_resamples=replicates,
            vectorized=True,
            batch=200,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        found.append(list(zip(got.low.tolist(), got.high.tolist(), strict=True)))
    return found


def by_loop(readers: list[Any], clusters: list[str], replicates: int) -> list[Limits]:
    """Draw pictures, put their rows together, add them up; again and again."""
    rng = np.random.default_rng(0)
    names, number = np.unique(clusters, return_inverse=True)
    of = [np.flatnonzero(number == i) for i in range(len(names))]
    found = []
    for rows in readers:
        drawn = []
        for _ in range(replicates):
            chosen = np.concatenate([of[i] for i in rng.integers(len(names), size=len(names))])
            drawn.append(list(FAMILY.values(rows[chosen].sum(axis=0)).values()))
        low, high = np.quantile(np.array(drawn), [0.025, 0.975], axis=0)
        found.append(list(zip(low.tolist(), high.tolist(), strict=True)))
    return found


def race(
    readers: list[Any], clusters: list[str], replicates: int
) -> tuple[dict[str, float], float]:
    """CPU seconds of each way, and the largest gap between an end of ours and of scipy's."""
    ways: dict[str, tuple[Callable[..., list[Limits]], int]] = {
        "ours": (ours, 1),
        "scipy.stats.bootstrap": (by_scipy, 1),
        "numpy loop": (by_loop, TENTH),
    }
    seconds, ends = {}, {}
    for name, (way, part) in ways.items():
        began = time.process_time()
        ends[name] = np.array(way(readers, clusters, replicates // part))
        seconds[name] = (time.process_time() - began) * part
    gap = np.abs(ends["ours"] - ends["scipy.stats.bootstrap"]).max()
    return seconds, float(gap)


def main() -> None:
    """Measure interleaved, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="few rows and replicates, one run")
    asked = parser.parse_args()
    rows, pictures, replicates = (60, 40, 200) if asked.quick else (ROWS, PICTURES, REPLICATES)
    readers, clusters = made(rows, pictures)
    laps = [race(readers, clusters, replicates) for _ in range(1 if asked.quick else asked.runs)]
    seconds = {name: statistics.median(lap[name] for lap, _ in laps) for name in laps[0][0]}
    figures = {
        "rows": rows,
        "clusters": len(set(clusters)),
        "readers": len(readers),
        "figures": len(FAMILY.figures),
        "replicates": replicates,
        "runs": len(laps),
        "cpu_seconds": {name: round(s, 3) for name, s in seconds.items()},
        "faster_by": {n: round(s / seconds["ours"], 1) for n, s in seconds.items() if n != "ours"},
        "largest_gap_to_scipy": round(max(gap for _, gap in laps), 4),
        "within_5_s": seconds["ours"] <= MARK,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "machine": platform.machine(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
