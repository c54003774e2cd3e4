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

POWERCAP = Path("/sys/class/powercap")
LIBRARIES = ("torch", "transformers", "onnxruntime", "vllm", "spacy")
"""Whose versions are told where they were loaded."""


def machine() -> str:
    """Processor, threads and versions in one line; with the GPU, when this process uses one."""
    loaded = [(n, sys.modules[n]) for n in LIBRARIES if n in sys.modules]
    versions = [f"{n} {getattr(m, '__version__', '')}".strip() for n, m in loaded]
    parts = [f"{processor()}, 1 thread of {os.cpu_count()} cores", *_gpu()]
    python = f"Python {platform.python_version()}"
    return "; ".join([*parts, ", ".join([python, f"gen_msa {__version__}", *versions])])


def processor() -> str:
    """The processor's own name, else its kind."""
    try:
        told = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        told = ""
    named = re.search(r"^model name\s*:\s*(.+)$", told, re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()


def _gpu() -> list[str]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    return [str(torch.cuda.get_device_name())]


def peak_megabytes() -> float:
    """Most memory that this process has held, in MB (1e6 bytes)."""
    status = Path("/proc/self/status")
    if status.is_file():
        # `ru_maxrss` would begin with what the process held that started this one.
        held = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE)
        if held:
            return int(held[1]) * 1024 / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


@dataclass(frozen=True)
class Meter:
    """The energy counters of the processor packages."""

    counters: tuple[Path, ...]
    """Of microjoules; none: they cannot be read."""
    ends: tuple[int, ...]
    """Where each begins again at 0."""

    @classmethod
    def open(cls, root: Path = POWERCAP) -> "Meter":
        """The counters below `root`: of all packages, or of none when one cannot be read."""
        try:
            zones = [z for z in sorted(root.glob("*-rapl:*")) if _is_package(z)]
            ends = tuple(_number(z / "max_energy_range_uj") for z in zones)
            made = cls(tuple(z / "energy_uj" for z in zones), ends)
            made.read()
        except (OSError, ValueError):
            return cls((), ())
        return made

    def read(self) -> tuple[int, ...]:
        """What the counters say now, in microjoules."""
        return tuple(_number(c) for c in self.counters)

    def joules(self, before: Sequence[int], after: Sequence[int]) -> float | None:
        """Between two readings, all packages together; a counter may have begun again once."""
        if not self.counters:
            return None
        steps = zip(before, after, self.ends, strict=True)
        return sum((b - a) % (end + 1) for a, b, end in steps) / 1e6


def _is_package(zone: Path) -> bool:
    return (zone / "name").read_text().startswith("package")


def _number(path: Path) -> int:
    return int(path.read_text())
