"""The contenders of the fine-tuning benchmark, each in a process of its own.

with Contender(Spec("gen_msa", "ours", recipe)) as contender:
    contender.lap()
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
TIMEOUT_SECONDS = 3600.0
"""Time that a lap may take on a busy machine."""


@dataclass(frozen=True)
class Spec:
    """The task of a contender; both kinds train on the rows of `recipe`."""

    name: str
    kind: str
    """`ours` or `theirs`: the module of this folder whose `work` runs it."""
    recipe: tuple[str, ...]
    """Overrides of an empty `FinetuneRecipe`, as on the command line."""
    laps: int = 6
    options: dict[str, object] = field(default_factory=dict)
    """For `theirs`: settings of SFTConfig, and `head`."""


@dataclass(frozen=True)
class Lap:
    """One pass over all posts."""

    cpu: float
    """Process CPU time (seconds) since the previous lap, all threads."""
    rows: int
    """Training rows."""
    updates: int
    losses: tuple[float, ...]
    """Of each optimiser step, if the contender reports them."""
    peak_mb: float
    """Peak resident memory in MB; 0 if the system does not report it."""


class Meter:
    """Measures laps in a contender's process, and waits for the signal to continue."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._started_at = 0.0

    def ready(self) -> bool:
        """Report that everything is loaded; return whether a lap is wanted."""
        self._pipe.send("ready")
        return self._wait()

    def lap(self, rows: int, updates: int, losses: tuple[float, ...] = ()) -> bool:
        """Report a finished lap.

        Args:
            rows: Training rows of the lap.
            updates: Its optimiser steps.
            losses: Their losses.

        Returns:
            Whether another lap is wanted.
        """
        cpu_seconds = time.process_time() - self._started_at
        self._pipe.send(Lap(cpu_seconds, rows, updates, losses, _peak_mb()))
        return self._wait()

    def _wait(self) -> bool:
        is_wanted: bool = self._pipe.recv()
        self._started_at = time.process_time()
        return is_wanted


class Contender:
    """Starts the process of a contender and runs it lap by lap."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        context = multiprocessing.get_context("spawn")
        self._pipe, child_pipe = context.Pipe()
        self._process = context.Process(target=_work, args=(spec, child_pipe), daemon=True)
        self._process.start()
        child_pipe.close()

    def __enter__(self) -> Self:
        self._receive()
        return self

    def lap(self) -> Lap:
        """Run one lap."""
        self._pipe.send(True)
        message = self._receive()
        if not isinstance(message, Lap):
            raise TypeError(f"{self.spec.name} sent {message!r} instead of a lap")
        return message

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None
    ) -> None:
        if kind is None and self._process.is_alive():
            self._pipe.send(False)
            self._process.join(60)
        self._process.terminate()
        self._process.join()

    def _receive(self) -> object:
        if not self._pipe.poll(TIMEOUT_SECONDS):
            raise TimeoutError(f"{self.spec.name} sent nothing for {TIMEOUT_SECONDS:.0f} s")
        try:
            return self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"{self.spec.name} ended; its error is printed above") from None


def _peak_mb() -> float:
    """Return the peak memory of this process alone; `getrusage` would include its parent."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((float(s.split()[1]) / 1e3 for s in lines if s.startswith("VmHWM")), 0.0)


def _work(spec: Spec, pipe: Connection) -> None:
    # This folder has a benchmark called datasets.py, which hides the package of that name.
    sys.path = [p for p in sys.path if Path(p).resolve() != HERE]
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    importlib.import_module(f"{__name__}.{spec.kind}").work(spec, Meter(pipe))
