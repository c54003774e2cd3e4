"""The contenders of the fine-tuning bench, each in a process of its own.

Knows what a contender is told (`Spec`) and what it answers (`Lap`), not how any of them trains.

    with Contender(Spec("gen_msa", "ours", recipe)) as one: one.lap()
"""

import importlib
import multiprocessing
import os
import sys
import time
import warnings
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).resolve().parent.parent
WAIT = 3600.0
"""Seconds a lap may take on a busy machine."""


@dataclass(frozen=True)
class Spec:
    """What a contender is to do; both kinds learn the rows that `recipe` gives."""

    name: str
    kind: str
    """`ours` or `theirs`: the module of this folder whose `work` runs it."""
    recipe: tuple[str, ...]
    """Overrides of an empty `Recipe`, as on the command line."""
    laps: int = 6
    options: dict[str, object] = field(default_factory=dict)
    """Of `theirs`: settings of SFTConfig, and `head`."""


@dataclass(frozen=True)
class Lap:
    """One pass over all posts."""

    cpu: float
    """Seconds of process CPU time since the lap before, all threads."""
    rows: int
    """Rows learned."""
    updates: int
    losses: tuple[float, ...]
    """Of each optimiser step, where the contender tells them."""
    peak_mb: float
    """Resident memory at its highest, MB; 0 where the system does not tell."""


class Meter:
    """Held by a contender's process: says what a lap took, and waits to be told to go on."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._began = 0.0

    def ready(self) -> bool:
        """Everything is loaded; whether a lap is wanted."""
        self._pipe.send("ready")
        return self._wait()

    def lap(self, rows: int, updates: int, losses: tuple[float, ...] = ()) -> bool:
        """A lap is over; whether another is wanted."""
        spent = time.process_time() - self._began
        self._pipe.send(Lap(spent, rows, updates, losses, _peak_mb()))
        return self._wait()

    def _wait(self) -> bool:
        go: bool = self._pipe.recv()
        self._began = time.process_time()
        return go


class Contender:
    """The other side of the meter: starts the process, and has it run lap by lap."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_work, args=(spec, other), daemon=True)
        self._process.start()
        other.close()

    def __enter__(self) -> Self:
        self._told()
        return self

    def lap(self) -> Lap:
        """Have it run one lap."""
        self._pipe.send(True)
        told = self._told()
        if not isinstance(told, Lap):
            raise TypeError(f"{self.spec.name} says {told!r} in place of a lap")
        return told

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None
    ) -> None:
        if kind is None and self._process.is_alive():
            self._pipe.send(False)
            self._process.join(60)
        self._process.terminate()
        self._process.join()

    def _told(self) -> object:
        if not self._pipe.poll(WAIT):
            raise TimeoutError(f"{self.spec.name} says nothing for {WAIT:.0f} s")
        try:
            return self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"{self.spec.name} ended; its own error stands above") from None


def _peak_mb() -> float:
    """Of this program alone; `getrusage` would count the one that started it."""
    told = Path("/proc/self/status")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((float(one.split()[1]) / 1e3 for one in lines if one.startswith("VmHWM")), 0.0)


def _work(spec: Spec, pipe: Connection) -> None:
    # This file's own folder has a bench called datasets.py, which hides the package of that name.
    sys.path = [p for p in sys.path if Path(p).resolve() != HERE]
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    importlib.import_module(f"{__name__}.{spec.kind}").work(spec, Meter(pipe))
