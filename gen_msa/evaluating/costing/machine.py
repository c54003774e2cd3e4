"""The machine that reads: what it is, what a process has held in memory, and the energy it tells.

Energy is what RAPL counts (`/sys/class/powercap`): of whole processor packages, whatever else runs
on them. Where it cannot be read there is none, and nothing is guessed. Knows nothing of readers.

    meter = Meter.open()
    before = meter.read()
    meter.joules(before, meter.read())      # None where nothing can be read
"""

import os
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gen_msa import __version__

POWERCAP_DIR = Path("/sys/class/powercap")
REPORTED_LIBRARIES = ("torch", "transformers", "onnxruntime", "vllm", "spacy")
"""Whose versions are told where they were loaded."""


def describe_machine() -> str:
    """Processor, threads and versions in one line; with the GPU, when this process uses one."""
    loaded = [(n, sys.modules[n]) for n in REPORTED_LIBRARIES if n in sys.modules]
    versions = [f"{n} {getattr(m, '__version__', '')}".strip() for n, m in loaded]
    parts = [f"{processor_name()}, 1 thread of {os.cpu_count()} cores", *_gpu_names()]
    python = f"Python {platform.python_version()}"
    return "; ".join([*parts, ", ".join([python, f"gen_msa {__version__}", *versions])])


def processor_name() -> str:
    """The processor's own name, else its kind."""
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
    """Most memory that this process has held, in MB (1e6 bytes)."""
    status = Path("/proc/self/status")
    if status.is_file():
        # `ru_maxrss` would begin with what the process held that started this one.
        match = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE)
        if match:
            return int(match[1]) * 1024 / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


@dataclass(frozen=True)
class EnergyMeter:
    """The energy counters of the processor packages."""

    counters: tuple[Path, ...]
    """Of microjoules; none: they cannot be read."""
    max_ranges: tuple[int, ...]
    """Where each begins again at 0."""

    @classmethod
    def open(cls, root: Path = POWERCAP_DIR) -> "EnergyMeter":
        """The counters below `root`: of all packages, or of none when one cannot be read."""
        try:
            zones = [z for z in sorted(root.glob("*-rapl:*")) if _is_package_zone(z)]
            max_ranges = tuple(_read_int(z / "max_energy_range_uj") for z in zones)
            meter = cls(tuple(z / "energy_uj" for z in zones), max_ranges)
            meter.read()
        except (OSError, ValueError):
            return cls((), ())
        return meter

    def read(self) -> tuple[int, ...]:
        """What the counters say now, in microjoules."""
        return tuple(_read_int(c) for c in self.counters)

    def joules(self, before: Sequence[int], after: Sequence[int]) -> float | None:
        """Between two readings, all packages together; a counter may have begun again once."""
        if not self.counters:
            return None
        steps = zip(before, after, self.max_ranges, strict=True)
        return sum((b - a) % (max_range + 1) for a, b, max_range in steps) / 1e6


def _is_package_zone(zone: Path) -> bool:
    return (zone / "name").read_text().startswith("package")


def _read_int(path: Path) -> int:
    return int(path.read_text())
