"""Readers in processes of their own, which read the same posts lap by lap and take turns.

The first lap of each warms up and is not counted. Each process has one thread, is made anew, and
knows no answer of an earlier run. Knows nothing of which readers there are, or of figures.

    make = functools.partial(readers.make, ReaderSettings(reader="echo"), Path())
    race([Contender("echo", make, posts)], laps=5)["echo"].laps[0].cpu
"""

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gen_msa.errors import UserError
from gen_msa.evaluating.costing.machine import Meter, machine, peak_megabytes
from gen_msa.ledger import key
from gen_msa.types import Post

if TYPE_CHECKING:
    from gen_msa.readers import Reader

ALONE = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
"""What libraries ask how many threads they may have."""


class Contender(NamedTuple):
    """A reader that is to be timed, and what it reads in a lap."""

    name: str
    make: "Callable[[], Reader]"
    """Called in the other process: must be picklable."""
    posts: Sequence[Post]
    chunk: int = 64
    """Posts that it is given at once."""


class Lap(NamedTuple):
    """All posts read once."""

    posts: int
    opinions: int
    cpu: float
    """Seconds of the process, all threads together."""
    wall: float
    peak_mb: float
    """Most memory held until now, loading included."""
    joules: float | None
    """Of all processor packages; None where the machine does not tell."""


class Ran(NamedTuple):
    """What became of a contender."""

    laps: tuple[Lap, ...]
    reader: str
    """sha256 of its fingerprint."""
    machine: str
    error: str
    """Why it could not go on; empty when all went well."""


def race(contenders: Sequence[Contender], laps: int, *, together: bool = True) -> dict[str, Ran]:
    """Name -> the laps of each contender; one that fails holds up no other.

    `together`: all are in memory at once and take turns; else one after the other.
    """
    groups = [contenders] if together else [[one] for one in contenders]
    return {name: ran for group in groups for name, ran in _turns(group, laps).items()}


def _turns(contenders: Sequence[Contender], laps: int) -> dict[str, Ran]:
    with ExitStack() as stack:
        runners = []
        for one in contenders:
            runners.append(stack.enter_context(_started(one)))
            runners[-1].lap(counted=False)
        for _ in range(laps):
            for runner in runners:
                runner.lap()
        return {c.name: r.ran() for c, r in zip(contenders, runners, strict=True)}


class _Runner:
    """The hither end of a contender's process."""

    def __init__(self, pipe: Any, process: Any) -> None:
        self._pipe, self._process = pipe, process
        self._laps: list[Lap] = []
        self._about = ("", "")
        self._error = ""

    def lap(self, *, counted: bool = True) -> None:
        """Wait for one more lap; nothing once the reader has failed."""
        if self._error:
            return
        try:
            self._pipe.send("lap")
            found = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(10)
            self._error = f"its process ended with exit code {self._process.exitcode}"
            return
        if isinstance(found, str):
            self._error = found
            return
        lap, *about = found
        self._about = (about[0], about[1])
        self._laps += [lap] * counted

    def ran(self) -> Ran:
        return Ran(tuple(self._laps), *self._about, self._error)

    def end(self) -> None:
        self._pipe.close()
        self._process.join(5)
        self._process.kill()
        self._process.join()


@contextmanager
def _started(one: Contender) -> Iterator[_Runner]:
    """A contender's process; ends with the block."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    with tempfile.TemporaryDirectory(prefix="gen-msa-cost-") as home:
        process = context.Process(target=_child, args=(theirs, one, Path(home)))
        with _one_thread():
            process.start()
        theirs.close()
        runner = _Runner(pipe, process)
        try:
            yield runner
        finally:
            runner.end()


@contextmanager
def _one_thread() -> Iterator[None]:
    """The environment of a process with one thread: libraries look at it when they are loaded."""
    before = {name: os.environ.get(name) for name in ALONE}
    os.environ.update(dict.fromkeys(ALONE, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _child(pipe: Any, one: Contender, home: Path) -> None:
    """Make the reader, then read all posts whenever asked to; an error is sent instead of a lap."""
    try:
        reader, meter, laps = one.make(), Meter.open(), 0
        while pipe.recv() == "lap":
            _forget(home / str(laps))
            lap = _lap(reader, one, meter)
            pipe.send((lap, key(reader.fingerprint()), machine()))
            laps += 1
    except (EOFError, KeyboardInterrupt):  # nobody wants another lap
        return
    except UserError as e:
        pipe.send(str(e))
    except Exception as e:  # whatever it is, it is the reader's, and is told under its name
        pipe.send(f"{type(e).__name__}: {e}")


def _lap(reader: "Reader", one: Contender, meter: Meter) -> Lap:
    joules, cpu, wall = meter.read(), time.process_time(), time.perf_counter()
    opinions = 0
    for i in range(0, len(one.posts), one.chunk):
        said = reader.read(one.posts[i : i + one.chunk])
        opinions += sum(len(r.opinions) for r in said)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    spent = meter.joules(joules, meter.read())
    return Lap(len(one.posts), opinions, cpu, wall, peak_megabytes(), spent)


def _forget(folder: Path) -> None:
    """Let no picture's features be read that an earlier lap or run left on disk."""
    features = sys.modules.get("gen_msa.students.common.inputs")
    if features is not None and features.packaged_eyes.cache_info().currsize:
        from gen_msa.towers.packaged import cache_folder
        from gen_msa.towers.shelf import Shelf, bound

        features.packaged_eyes(cache_folder()).shelf = Shelf(folder, bound())
