"""The run's own log, `log.jsonl`, and the trackers of `report_to`.

One JSON object a line: logged steps, and figures of the dev sources. Knows nothing of training.

    book = Logbook(Path("adapters/tiny"), recipe); book.write({"step": 10, "loss": 0.7})
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gen_msa.errors import UserError, did_you_mean
from gen_msa.finetuning.recipe import Recipe

_PACKAGES = {"comet_ml": "comet-ml"}
"""Package of a tracker where it is not called like it."""


class Logbook:
    """Appends to `folder/log.jsonl` and tells the trackers; both begin with the first line.

    Raises `UserError` for a tracker that is unknown or not installed, at once.
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.path = folder / "log.jsonl"
        self._recipe = recipe
        self._trackers: list[Any] | None = None
        check(recipe.report_to)

    def resume(self, step: int) -> None:
        """Drop what was logged after `step`, and a line that was cut by a crash."""
        if not self.path.is_file():
            return
        kept = b""
        for line in self.path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n") and _step_of(line) <= step:
                kept += line
        self._guarded(lambda: _replace(self.path, kept))

    def write(self, record: Mapping[str, Any], drawn: Mapping[str, float] | None = None) -> None:
        """Append one object; trackers get `drawn`, or all its numbers. It must hold `step`."""
        line = json.dumps(_finite(record), ensure_ascii=False, allow_nan=False).encode() + b"\n"
        self._guarded(lambda: _append(self.path, line))
        numbers = {k: v for k, v in record.items() if isinstance(v, int | float) and k != "step"}
        for tracker in self._started():
            tracker.log(dict(numbers if drawn is None else drawn), step=int(record["step"]))

    def close(self) -> None:
        """Let the trackers finish."""
        for tracker in self._trackers or ():
            tracker.finish()
        self._trackers = []

    def _started(self) -> list[Any]:
        if self._trackers is None:
            self._trackers = start(self._recipe, self.path.parent) if self._recipe.report_to else []
        return self._trackers

    def _guarded(self, act: Any) -> None:
        try:
            act()
        except OSError as e:
            raise UserError(
                f"{self.path} cannot be written: {e.strerror or e}",
                mend="make room, or choose another output_dir; the last checkpoint is whole",
            ) from None


def check(names: tuple[str, ...]) -> None:
    """Raise `UserError` unless every tracker is known to accelerate and installed."""
    if not names:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
    from accelerate.utils import LoggerType

    installed = {str(t) for t in get_available_trackers()}
    built_in = {str(t) for t in LoggerType} - {"all"}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            mend = did_you_mean(name, LOGGER_TYPE_TO_CLASS)
            raise UserError(f"report_to: no tracker is called {name!r}", mend=mend)
        if name in built_in - installed:
            package = _PACKAGES.get(name, name)
            raise UserError(
                f"report_to names {name}, which is not installed", mend=f"pip install {package}"
            )


def start(recipe: Recipe, folder: Path) -> list[Any]:
    """The trackers of a recipe, started, each told the recipe. Needs accelerate's state."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    started = []
    for name in recipe.report_to:
        kind = LOGGER_TYPE_TO_CLASS[name]
        place = {"logging_dir": str(folder)} if kind.requires_logging_directory else {}
        tracker = kind("gen_msa", **place)
        tracker.start()
        tracker.store_init_configuration(flat(recipe.model_dump(mode="json")))
        started.append(tracker)
    return started


def flat(tree: Mapping[str, Any], above: str = "") -> dict[str, str | int | float | bool]:
    """A tree of settings as `a.b.c` -> plain value; lists and None as text."""
    out: dict[str, str | int | float | bool] = {}
    for key, value in tree.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            out |= flat(value, f"{name}.")
        else:
            out[name] = value if isinstance(value, str | int | float) else json.dumps(value)
    return out


def _append(path: Path, line: bytes) -> None:
    """Append a whole line or nothing: what a full disk cut off is taken back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as f:
        before = f.tell()
        try:
            done = f.write(line)
            while done < len(line):
                done += f.write(line[done:])
        except OSError:
            f.truncate(before)
            raise


def _replace(path: Path, content: bytes) -> None:
    from gen_msa import jsonl

    with jsonl.whole(path) as f:
        f.write(content)


def _step_of(line: bytes) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _finite(value: Any) -> Any:
    """JSON knows no NaN: what is not a finite number is written as its name."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value
