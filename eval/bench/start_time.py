"""Measure what a start of the built-in model takes, beside `python -c "import torch"`.

    python eval/bench/start_time.py [--repeats 5] [--before CHECKOUT]

Process CPU time of whole interpreters that run `gen-msa explain --text … --model builtin`, median
and range of interleaved repeats. A first start finds an empty cache: it assembles the model, merges
the adapter and stores both; a warm start finds them. `import torch` is the floor of any answer from
a torch model. `--before` names a folder with another version of the package, for both in one run;
its caches are its own.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

POST = "The food was great but the service was slow."
EXPLAIN = [sys.executable, "-m", "gen_msa", "explain", "--text", POST, "--model", "builtin"]
IMPORT_TORCH = [sys.executable, "-c", "import torch"]
FIRST_STARTS = 2
"""A first start takes half a minute, and two are enough to see that."""


def cpu_seconds(command: list[str], package_folder: Path, cache: Path) -> float:
    """Return the CPU time of one process and its children.

    Args:
        command: The command.
        package_folder: Folder that has the `gen_msa` package to run.
        cache: Folder for `GEN_MSA_CACHE`.

    Returns:
        User and system time, in seconds.
    """
    environment = os.environ | {
        "PYTHONPATH": str(package_folder),
        "GEN_MSA_CACHE": str(cache),
        "OMP_NUM_THREADS": "1",
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env=environment, cwd=cache, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(folders: dict[str, Path], repeats: int) -> dict[str, list[float]]:
    """Measure every contender in turn.

    Args:
        folders: Name -> folder with the package.
        repeats: Warm starts of each.

    Returns:
        Name -> CPU times in seconds.
    """
    times: dict[str, list[float]] = {"import torch": []}
    with tempfile.TemporaryDirectory() as temporary:
        caches = {name: Path(temporary) / name.replace(" ", "_") for name in folders}
        for name, folder in folders.items():
            for index in range(FIRST_STARTS):
                cache = Path(f"{caches[name]}_{index}") if index else caches[name]
                cache.mkdir()
                seconds = cpu_seconds(EXPLAIN, folder, cache)
                times.setdefault(f"first start, {name}", []).append(seconds)
        for _ in range(repeats):
            for name, folder in folders.items():
                seconds = cpu_seconds(EXPLAIN, folder, caches[name])
                times.setdefault(f"warm start, {name}", []).append(seconds)
            any_folder = next(iter(folders))
            times["import torch"].append(
                cpu_seconds(IMPORT_TORCH, folders[any_folder], caches[any_folder])
            )
    return times


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="warm starts of each (>= 5)")
    parser.add_argument("--before", type=Path, help="folder with another version of gen_msa")
    options = parser.parse_args()
    folders = {"now": Path(__file__).parents[2]}
    if options.before:
        folders = {"before": options.before.resolve(), **folders}
    load = os.getloadavg()[0]
    times = measure(folders, max(options.repeats, 5))
    peer = statistics.median(times["import torch"])
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},"
        f" load {load:.1f} before, CPU time"
    )
    for name, values in times.items():
        median = statistics.median(values)
        spread = f"{min(values):.2f} to {max(values):.2f}, n = {len(values)}"
        print(f"{name}: {median:.2f} s ({spread}), {median / peer:.2f} x import torch")
    if options.before:
        medians = (statistics.median(times[f"warm start, {n}"]) for n in ("now", "before"))
        now, before = medians
        print(f"warm start now / before: {now / before:.2f}")


if __name__ == "__main__":
    main()
