"""Measure what `import gen_msa` takes, beside the interpreter alone and `import transformers`.

    python eval/bench/import_time.py

Process CPU time of whole interpreters, median and range of 15 interleaved repeats. The peer is
`import transformers`, with which the packages of this field usually begin.
"""

import platform
import resource
import statistics
import subprocess
import sys

REPEATS = 15
MARK_MS = 50.0
CODES = {
    "interpreter alone": "pass",
    "import gen_msa": "import gen_msa",
    "import transformers": "import transformers",
}


def cpu_ms(code: str) -> float:
    """Return the CPU time of one interpreter that runs `code`, in milliseconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    """Print the table."""
    times: dict[str, list[float]] = {name: [] for name in CODES}
    for _ in range(REPEATS):
        for name, code in CODES.items():
            times[name].append(cpu_ms(code))
    base = statistics.median(times["interpreter alone"])
    print(f"{platform.machine()}, Python {platform.python_version()}, {REPEATS} repeats, CPU time")
    for name, values in times.items():
        extra = statistics.median(values) - base
        spread = f"{min(values) - base:.1f} to {max(values) - base:.1f}"
        print(f"{name}: {extra:.1f} ms over the interpreter ({spread})")
    ours = statistics.median(times["import gen_msa"]) - base
    peer = statistics.median(times["import transformers"]) - base
    print(f"mark {MARK_MS:.0f} ms; {ours / peer:.3f} of the peer's time")


if __name__ == "__main__":
    main()
