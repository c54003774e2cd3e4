"""What a large job takes: time, processors and disk for 1 M, 100 M and 10 G posts.

    python eval/bench/capacity.py measure student:students/int8 [explanations=false] > rates.json
    python eval/bench/capacity.py plan                        # the tables of docs/capacity.md
    python eval/bench/capacity.py plan --rate 40 --price 2.5  # your own posts/s and price an hour

`measure` runs the commands over a small and a large file of posts, on one thread, and takes the
difference, so that start-up does not count; CPU seconds, median of `--laps`. `plan` multiplies the
rates in `capacity.json` beside this file.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RATES = Path(__file__).with_suffix(".json")
SIZES = {"1 M": 1e6, "100 M": 1e8, "10 G": 1e10}
BASELINE = ["echo", "cues={}", "prompt=predict/plain"]
HOUR = 3600.0


@dataclass(frozen=True)
class Rates:
    """Rates of one core for one post with two aspects: CPU seconds and bytes."""

    models: dict[str, float]
    """Seconds of a complete job for each post, by model."""
    overhead: float
    """Seconds of it without the model: reading, answer cache, writing."""
    skip: float
    """Seconds to skip a post of another shard."""
    merge: float
    ray_driver: float
    posts_bytes: float
    out_bytes: float
    cache_bytes: float


def model_table(rates: Rates, price: float) -> str:
    """Return core-hours, and cost at `price` a core-hour, of each model."""
    head = ["model", "posts an hour on one core", *(f"{n}: core-hours, price" for n in SIZES)]
    head += ["cores for 10 G in 30 days"]
    lines = [head, ["---"] * len(head)]
    for name, seconds in rates.models.items():
        hours = [posts * seconds / HOUR for posts in SIZES.values()]
        costs = [f"{_n(h)}, {_n(h * price)}" for h in hours]
        lines.append([name, _n(HOUR / seconds), *costs, _n(hours[-1] / (30 * 24))])
    return _markdown(lines)


def overhead_table(rates: Rates) -> str:
    """Return what a job takes besides its model."""
    lines = [["of each, in total", *SIZES], ["---"] * (1 + len(SIZES))]
    rows: dict[str, Callable[[float], str]] = {
        "posts, GB": lambda n: _n(n * rates.posts_bytes / 1e9),
        "opinions as JSONL, GB": lambda n: _n(n * rates.out_bytes / 1e9),
        "answer cache, GB": lambda n: _n(n * rates.cache_bytes / 1e9),
        "one process that reads, caches and writes, hours": lambda n: _n(n * rates.overhead / HOUR),
        "a shard that skips the posts of all others, hours": lambda n: _n(n * rates.skip / HOUR),
        "`gen-msa merge` in one go, hours": lambda n: _n(n * rates.merge / HOUR),
        "Ray's driver, hours": lambda n: _n(n * rates.ray_driver / HOUR),
    }
    lines += [[name, *(row(n) for n in SIZES.values())] for name, row in rows.items()]
    return _markdown(lines)


def custom_rate_table(rate: float, price: float) -> str:
    """Return hours and cost for a model of `rate` posts/s at `price` an hour."""
    lines = [["posts", "machine-hours", "price"], ["---"] * 3]
    for name, posts in SIZES.items():
        hours = posts / rate / HOUR
        lines.append([name, _n(hours), _n(hours * price)])
    return _markdown(lines)


def measure(model: str, settings: list[str], sizes: tuple[int, int], laps: int) -> dict[str, Any]:
    """Measure CPU seconds and bytes per post, by the difference between two jobs."""
    arguments = [model, *settings]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = [_posts(folder / f"{n}.jsonl", n) for n in sizes]

        def per_post(command: Callable[[Path, Path], None]) -> float:
            per_post_seconds = []
            for lap in range(laps):
                cpu_seconds = []
                for file in files:
                    before = _cpu()
                    command(file, folder / f"{file.stem}-{lap}-{len(list(folder.iterdir()))}")
                    cpu_seconds.append(_cpu() - before)
                per_post_seconds.append((cpu_seconds[1] - cpu_seconds[0]) / (sizes[1] - sizes[0]))
            return statistics.median(per_post_seconds)

        seconds = per_post(lambda file, out: _explain(file, out, arguments))
        output_file = sorted(folder.glob(f"{sizes[1]}-*.jsonl"))[0]
        cache_file = sorted(folder.glob(f"{sizes[1]}-*.cache"))[0]
        report = {
            "model": " ".join(arguments),
            "seconds": seconds,
            "posts_bytes": files[1].stat().st_size / sizes[1],
            "out_bytes": output_file.stat().st_size / sizes[1],
            "cache_bytes": cache_file.stat().st_size / sizes[1],
        }
        if arguments[0] != "echo":
            return report
        report["skip"] = per_post(
            lambda f, out: _explain(f, out, [*arguments, "--shard", "1000/1000"])
        )
        for file in files:
            for i in (1, 2):
                _explain(file, folder / f"{file.stem}-parts", [*arguments, "--shard", f"{i}/2"])
        report["merge"] = per_post(lambda file, out: _merge(folder, file, out))
        return report


def _posts(path: Path, n: int) -> Path:
    from service import post

    path.write_text("".join(json.dumps({"post": post(i)}) + "\n" for i in range(n)), "utf-8")
    return path


def _explain(file: Path, out: Path, arguments: list[str]) -> None:
    model, *extra = arguments
    _run(["explain", str(file), "-m", model, "-o", f"{out}.jsonl", *extra])


def _merge(folder: Path, file: Path, out: Path) -> None:
    parts = sorted(map(str, folder.glob(f"{file.stem}-parts.*.part")))
    _run(["merge", *parts, "-o", f"{out}-merged.jsonl"])


def _run(arguments: list[str]) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "gen_msa", *arguments]
    completed = subprocess.run(command, env=environment, capture_output=True, text=True)
    if completed.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {completed.stderr[-2000:]}")


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _n(value: float) -> str:
    """Format a number with two significant digits."""
    if value >= 100:
        digits = len(str(int(value))) - 2
        return f"{round(value, -digits):,.0f}"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _markdown(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def load_rates() -> Rates:
    """Load the measured rates."""
    return Rates(**json.loads(RATES.read_text(encoding="utf-8")))


def main() -> None:
    """Measure or plan."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("verb", nargs="?", default="plan", choices=["measure", "plan"])
    parser.add_argument("model", nargs="?", default=BASELINE[0])
    parser.add_argument("settings", nargs="*", help="key=value of the model")
    parser.add_argument("--sizes", type=int, nargs=2, default=(1000, 9000), help="posts")
    parser.add_argument("--laps", type=int, default=5)
    parser.add_argument("--rate", type=float, help="posts a second of your own model")
    parser.add_argument("--price", type=float, default=0.05, help="of an hour of core or machine")
    options = parser.parse_intermixed_args()
    if options.verb == "plan":
        tables = [model_table(load_rates(), options.price), overhead_table(load_rates())]
        print(
            custom_rate_table(options.rate, options.price) if options.rate else "\n\n".join(tables)
        )
        return
    settings = options.settings or (BASELINE[1:] if options.model == BASELINE[0] else [])
    print(
        json.dumps(measure(options.model, settings, tuple(options.sizes), options.laps), indent=1)
    )


if __name__ == "__main__":
    main()
